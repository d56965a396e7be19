"""`preble bench tenants`: what a flood of one tenant does to the waits of another.

    alone      |. .  ..  . .   .  . |                    tenant `interactive`, at random times
    flooded                         |.  . .   ..  .  . |
                                    |##########........|  tenant `flood`: all its jobs at once,
                                                          in calls of 1,000; then they wait

One private stack with emulated engines, everything through its Redis. The flood is not waited
for: the stack is stopped with what is left of it.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from msgspec.structs import replace

from preble.bench.cpu import CpuFigures, CpuMeter
from preble.bench.pool_totals import PoolTotals, await_ended
from preble.bench.prompts import job_fields, random_ids
from preble.client import Client, Job, JobFields, calls
from preble.config import Priority, Settings
from preble.cost_model import CostModel, StepRequest, load_cost_model
from preble.errors import PrebleError
from preble.fair_share import SHARES
from preble.quantiles import quantile
from preble.serve.private import PrivateStack, private_stack

INTERACTIVE: Final = "interactive"
FLOOD: Final = "flood"
"""Names of the tenants."""

ENOUGH: Final = 0.95
"""Of a fair share: jobs are counted when they end, not by the step."""

_RETRY_FOR_S: Final = 600.0


class Plan(msgspec.Struct, frozen=True):
    """What is sent. No two prompts share anything."""

    flood_jobs: int = 100_000
    flood_priority: Priority = "normal"
    seconds: float = 60.0
    """Of either phase."""
    rate: float = 4.0
    """Interactive jobs a second."""
    flood_tokens: int = 256
    flood_output_tokens: int = 16
    interactive_tokens: int = 512
    interactive_output_tokens: int = 32
    seed: int = 1


class Waits(msgspec.Struct, frozen=True):
    """Of the interactive tenant in one phase, seconds from submission.

    *Claimed* is when a worker leased the job (`started_at`); *begun* is when its engine began
    with its prompt: its first token, less what the cost model says its prefill takes alone.
    """

    requests: int
    claimed_p50_s: float
    claimed_p99_s: float
    begun_p50_s: float
    begun_p99_s: float
    first_token_p99_s: float


class TenantFigures(msgspec.Struct, frozen=True):
    """Both phases, and the bounds."""

    plan: Plan
    instances: int
    cost_model: str
    speed: float
    credit_s: float
    step_s: float
    """The longest step: a whole chunk of prefill beside decodes in all slots."""
    alone: Waits
    flooded: Waits
    is_wait_bounded: bool
    """Whether, flooded, begun_p99_s is `credit_s` and `step_s` at most."""
    flood_submit_s: float
    """Until the last of the flood was accepted."""
    flood_completed: int
    flood_tokens_share: float
    """Of all tokens, prompts and outputs, of jobs that ended in the second phase."""
    fair_share: float
    """What the flood is due while both tenants wait."""
    is_share_kept: bool
    """Whether the flood got that, but for 5 %."""
    cpu: CpuFigures
    """Of the second phase."""


class Shares(msgspec.Struct, frozen=True):
    """Jobs of either tenant that ended in one phase."""

    plan: Plan
    interactive_jobs: int
    flood_jobs: int

    @property
    def flood(self) -> float:
        """The flood's share of their tokens, prompts and outputs."""
        plan = self.plan
        flood = self.flood_jobs * (plan.flood_tokens + plan.flood_output_tokens)
        each = plan.interactive_tokens + plan.interactive_output_tokens
        return flood / max(1, flood + self.interactive_jobs * each)


class TenantsFailed(PrebleError):
    """A job of the benchmark did not complete."""


def run(settings: Settings, plan: Plan, say: Callable[[str], None]) -> TenantFigures:
    """Measure both phases on a stack of their own.

    Raises:
        TenantsFailed: If an interactive job fails.
        PrebleError: If the stack cannot be run, or refuses the flood.
    """
    settings = replace(settings, engine="emulated", api_key="")
    with (
        private_stack(settings) as stack,
        Client(stack.url, retry_for_s=_RETRY_FOR_S) as client,
    ):
        return _Bench(settings, plan, stack, client, say).run()


class _Bench:
    def __init__(
        self, settings: Settings, plan: Plan, stack: PrivateStack, client: Client,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._plan = plan
        self._stack = stack
        self._client = client
        self._say = say
        self._chance = random.Random(plan.seed)  # noqa: S311 - data, not secrets
        self._sent = 0

    def run(self) -> TenantFigures:
        self._say(f"{self._plan.rate:g} jobs a second, alone")
        alone = self._jobs(self._converse())
        self._say(f"the same, flooded with {self._plan.flood_jobs} jobs")
        meter = CpuMeter(self._stack.pid)
        before = self._totals()
        with ThreadPoolExecutor(1) as threads:
            flooding = threads.submit(self._flood)
            job_ids = self._converse()
            ended = self._totals().completed - before.completed
            until_s, cpu = time.time_ns() / 1e9, meter.figures()
            flood_submit_s = flooding.result()
        flooded = self._jobs(job_ids)
        own = sum(job.ended_at is not None and job.ended_at <= until_s for job in flooded)
        shares = Shares(self._plan, own, ended - own)
        return self._figures(alone, flooded, shares, flood_submit_s, cpu)

    def _converse(self) -> list[str]:
        """Submit at random times for as long as the phase lasts. Returns the ids."""
        job_ids: list[str] = []
        due_s = began_s = time.monotonic()
        while (due_s := due_s + self._chance.expovariate(self._plan.rate)) < (
            began_s + self._plan.seconds
        ):
            time.sleep(max(0.0, due_s - time.monotonic()))
            job_ids += self._client.submit([self._interactive_job()])
        return job_ids

    def _flood(self) -> float:
        """Submit all of it. Returns the seconds that took."""
        began_s = time.monotonic()
        for call in calls(self._flood_jobs()):
            self._client.submit(call)
        return time.monotonic() - began_s

    def _jobs(self, job_ids: Sequence[str]) -> list[Job]:
        return self._client.wait(job_ids)

    def _totals(self) -> PoolTotals:
        return await_ended(self._stack.url, 0, until_s=0.0)

    def _interactive_job(self) -> JobFields:
        plan = self._plan
        self._sent += 1
        ids = random_ids(plan.flood_jobs + self._sent, plan.interactive_tokens)
        return {**job_fields(ids, plan.interactive_output_tokens), "tenant": INTERACTIVE}

    def _flood_jobs(self) -> Iterator[JobFields]:
        plan = self._plan
        to_whom = {"tenant": FLOOD, "priority": plan.flood_priority}
        for number in range(plan.flood_jobs):
            ids = random_ids(number, plan.flood_tokens)
            yield {**job_fields(ids, plan.flood_output_tokens), **to_whom}

    def _figures(
        self, alone: Sequence[Job], flooded: Sequence[Job], shares: Shares,
        flood_submit_s: float, cpu: CpuFigures,
    ) -> TenantFigures:  # fmt: skip
        settings, plan = self._settings, self._plan
        cost_model = load_cost_model(settings.cost_model)
        step_s = longest_step_s(cost_model, settings, plan)
        speed = settings.emulated_speed
        waits = waits_of(flooded, cost_model, speed)
        fair = fair_share(plan.flood_priority)
        return TenantFigures(
            plan=plan, instances=settings.workers, cost_model=settings.cost_model, speed=speed,
            credit_s=settings.credit_s, step_s=round(step_s, 3),
            alone=waits_of(alone, cost_model, speed), flooded=waits,
            is_wait_bounded=waits.begun_p99_s <= settings.credit_s + step_s,
            flood_submit_s=round(flood_submit_s, 1),
            flood_completed=shares.flood_jobs, flood_tokens_share=round(shares.flood, 3),
            fair_share=fair, is_share_kept=shares.flood >= ENOUGH * fair, cpu=cpu,
        )  # fmt: skip


def longest_step_s(cost_model: CostModel, settings: Settings, plan: Plan) -> float:
    """Seconds of a step that computes a chunk of a prompt while all other slots decode."""
    chunk = StepRequest(settings.chunk_tokens, settings.chunk_tokens)
    decode = StepRequest(1, plan.interactive_tokens + plan.interactive_output_tokens)
    return cost_model.step_s([chunk, *[decode] * (settings.slots - 1)]) / settings.emulated_speed


def waits_of(jobs: Sequence[Job], cost_model: CostModel, speed: float) -> Waits:
    """How long the jobs of one phase waited. Raises: TenantsFailed if one did not complete."""
    claimed_s, begun_s, first_s = zip(
        *(_waits_s(job, cost_model, speed) for job in jobs), strict=True
    )
    return Waits(
        len(jobs), _at(claimed_s, 0.5), _at(claimed_s, 0.99), _at(begun_s, 0.5),
        _at(begun_s, 0.99), _at(first_s, 0.99),
    )  # fmt: skip


def fair_share(flood_priority: Priority) -> float:
    """Of the work, that the flood is due beside one other tenant, of priority `normal`."""
    if flood_priority == "normal":
        return 0.5
    return SHARES[flood_priority] / (SHARES[flood_priority] + SHARES["normal"])


def _waits_s(job: Job, cost_model: CostModel, speed: float) -> tuple[float, float, float]:
    """Until it was claimed, until its prefill began, until its first token."""
    if job.result is None or job.ended_at is None or job.started_at is None:
        reason = f"{job.error.code}: {job.error.message}" if job.error else job.status
        msg = f"job {job.id} did not complete: {reason}"
        raise TenantsFailed(msg)
    result = job.result
    claimed_s = job.started_at - job.created_at
    first_s = job.ended_at - job.created_at - (result.engine_s - result.ttft_s)
    miss_tokens = job.prompt_tokens - result.usage.cached_tokens
    prefill_s = cost_model.prefill_s(miss_tokens, job.prompt_tokens) / speed
    return claimed_s, max(claimed_s, first_s - prefill_s), first_s


def _at(values: Sequence[float], q: float) -> float:
    return round(quantile(sorted(values), q), 3)
