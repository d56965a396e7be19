"""`preble bench batch`: how long an offline batch takes, from its first submit to its last end.

All prompts are there from the beginning, in random order. Each *way* runs them on a private
stack of its own, with the same emulated engines at the same speed; the reference goes without
a dispatcher (`partitions`). `preble` sorts the batch by prefix before it submits, as a client
does that has a batch; `least_outstanding` submits it as it comes.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from preble.bench.cpu import CpuFigures, CpuMeter
from preble.bench.partitions import Reference, run_partitioned
from preble.bench.pool_totals import PoolTotals, await_ended
from preble.bench.prompts import job_fields, prompt_ids
from preble.client import Client, calls, in_prefix_order
from preble.config import PolicyName, Priority, Settings
from preble.errors import PrebleError
from preble.serve.private import PrivateStack, private_stack
from preble.simulator.workload import TimedRequest, Workload, as_batch, by_prefix_order

MOST_OVER_REFERENCE: Final = 1.10
LEAST_OF_OTHER: Final = 3.0
"""What must hold: makespan of `preble` over the reference, `least_outstanding` over `preble`."""

WayName = Literal["preble", "least_outstanding", "preble_unsorted"]

_RETRY_FOR_S: Final = 3_600.0
"""A full queue is no failure of a batch: it goes on when there is room."""


class _Way(msgspec.Struct, frozen=True):
    policy: PolicyName
    priority: Priority
    is_sorted: bool


WAYS: Final[Mapping[WayName, _Way]] = {
    "preble": _Way("preble", "batch", is_sorted=True),
    "least_outstanding": _Way("least_outstanding", "normal", is_sorted=False),
    "preble_unsorted": _Way("preble", "batch", is_sorted=False),
}


class BatchRow(msgspec.Struct, frozen=True):
    """One way through the dispatcher."""

    way: WayName
    makespan_s: float
    """From the first submit to the last end, in real seconds."""
    completed: int
    """Fewer than the batch has if the way was given up: then it takes longer than this."""
    jobs_per_s: float
    hit_rate: float
    sort_s: float
    """Of the client, before the first submit."""
    submit_s: float
    """From the first submit until the last was accepted."""
    cpu: CpuFigures


class BatchFigures(msgspec.Struct, frozen=True):
    """All ways, and the reference."""

    workload: str
    jobs: int
    instances: int
    cost_model: str
    speed: float
    """How many times faster than real the engines ran."""
    sorted_and_partitioned: Reference
    ways: tuple[BatchRow, ...]
    over_reference: float | None
    """Makespan of `preble` over that of the reference."""
    is_within_reference: bool | None
    """Whether that is 1.10 at most."""
    times_better: float | None
    """Makespan of `least_outstanding` over that of `preble`; at least that if it was given up."""
    is_times_better: bool | None
    """Whether that is 3 at least."""


class BatchFailed(PrebleError):
    """A job of the benchmark did not complete."""


def run(
    settings: Settings, workload: Workload, *, ways: Sequence[WayName], patience: float,
    say: Callable[[str], None],
) -> BatchFigures:  # fmt: skip
    """Run the workload as a batch, each way on a stack of its own.

    Args:
        settings: Of all stacks, but for the policy.
        workload: Its times of arrival do not count.
        ways: Which to run, in this order.
        patience: A way is given up after so many times the makespan of the first.
        say: Told what is being measured.

    Raises:
        BatchFailed: If a job fails.
        PrebleError: If a stack cannot be run.
    """
    batch = as_batch(workload, seed=1)
    say("the reference, on virtual time")
    reference = run_partitioned(by_prefix_order(batch), settings)
    say(f"sorted and partitioned: {reference.makespan_s:g} s")
    rows: list[BatchRow] = []
    for name in ways:
        at_most_s = patience * rows[0].makespan_s if rows else math.inf
        say(f"{len(batch.requests)} jobs, {name}")
        rows.append(_Run(settings, batch, name, at_most_s).row())
        say(f"{name}: {rows[-1].makespan_s:g} s")
    return figures_of(settings, batch, reference, rows)


def figures_of(
    settings: Settings, batch: Workload, reference: Reference, rows: Sequence[BatchRow]
) -> BatchFigures:
    """The rows with their ratios, as far as there are rows for them."""
    took_s = {row.way: row.makespan_s for row in rows}
    over = took_s["preble"] / reference.makespan_s if "preble" in took_s else None
    times = took_s.get("least_outstanding", math.nan) / took_s.get("preble", math.nan)
    is_known = not math.isnan(times)
    return BatchFigures(
        workload=batch.name, jobs=len(batch.requests), instances=settings.workers,
        cost_model=settings.cost_model, speed=settings.emulated_speed,
        sorted_and_partitioned=reference, ways=tuple(rows),
        over_reference=None if over is None else round(over, 3),
        is_within_reference=None if over is None else over <= MOST_OVER_REFERENCE,
        times_better=round(times, 2) if is_known else None,
        is_times_better=times >= LEAST_OF_OTHER if is_known else None,
    )  # fmt: skip


class _Run:
    """One way, on its stack."""

    def __init__(
        self, settings: Settings, batch: Workload, name: WayName, at_most_s: float
    ) -> None:
        way = WAYS[name]
        self._settings = replace(settings, policy=way.policy, engine="emulated", api_key="")
        self._name: WayName = name
        self._way = way
        self._at_most_s = at_most_s
        self._prompts = [
            _Prompt(request, number, batch.block_size, way.priority)
            for number, request in enumerate(batch.requests)
        ]

    def row(self) -> BatchRow:
        began_s = time.monotonic()
        order = in_prefix_order(self._prompts) if self._way.is_sorted else range(len(self._prompts))
        sort_s = time.monotonic() - began_s
        with (
            private_stack(self._settings) as stack,
            Client(stack.url, retry_for_s=_RETRY_FOR_S) as client,
        ):
            return self._measured(stack, client, order, sort_s)

    def _measured(
        self, stack: PrivateStack, client: Client, order: Sequence[int], sort_s: float
    ) -> BatchRow:
        meter = CpuMeter(stack.pid)
        began_s = time.monotonic()
        for call in calls(self._jobs(order)):
            client.submit(call)
        submit_s = time.monotonic() - began_s
        until_s = began_s + self._at_most_s
        totals = await_ended(stack.url, len(self._prompts), until_s=until_s)
        makespan_s = time.monotonic() - began_s
        _require_no_failure(totals)
        return BatchRow(
            way=self._name, makespan_s=round(makespan_s, 2), completed=totals.completed,
            jobs_per_s=round(totals.completed / makespan_s, 1),
            hit_rate=round(totals.hit_rate, 4), sort_s=round(sort_s, 2),
            submit_s=round(submit_s, 2), cpu=meter.figures(),
        )  # fmt: skip

    def _jobs(self, order: Sequence[int]) -> Iterator[dict[str, object]]:
        return (self._prompts[index].fields() for index in order)


class _Prompt(Mapping[str, object]):
    """A job as the api takes it, made when it is looked at: all together are gigabytes."""

    __slots__ = ("_block_size", "_number", "_priority", "_request")

    def __init__(
        self, request: TimedRequest, number: int, block_size: int, priority: Priority
    ) -> None:
        self._request = request
        self._number = number
        self._block_size = block_size
        self._priority = priority

    def __getitem__(self, name: str) -> object:
        return self.fields()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields())

    def __len__(self) -> int:
        return len(self.fields())

    def fields(self) -> dict[str, object]:
        """All of it."""
        ids = prompt_ids(self._request, self._number, self._block_size)
        return {**job_fields(ids, self._request.output_tokens), "priority": self._priority}


def _require_no_failure(totals: PoolTotals) -> None:
    if totals.failed:
        msg = f"{totals.failed} jobs of the batch failed: its makespan says nothing"
        raise BatchFailed(msg)
