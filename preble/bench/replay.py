"""`preble bench replay`: one trace through the dispatcher, and beside it through the simulator.

The dispatcher is a whole private stack with the engine that the settings name; requests are
submitted at their times of arrival, with prompts that share exactly the blocks that the
trace's prompts share. The simulator replays the same trace with the same policy and cost
model. What differs is what the simulator does not know.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from preble.client import Job, JobFields, PrebleClient
from preble.config import Settings
from preble.errors import ConfigError, PrebleError
from preble.messages import unpack_keys
from preble.quantiles import quantile
from preble.serve.plan import worker_settings
from preble.serve.private import private_stack
from preble.simulator.outcome import PoolSettings, Served
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings, StepKind
from preble.simulator.workload import TimedRequest, Workload

_FIRST_ID, _LAST_ID = 1_000, 15_000
"""Ordinary words in any vocabulary we serve."""

WARM_UP: Final = "warm-up"


class Figures(msgspec.Struct, frozen=True):
    """Of all requests, in seconds from arrival."""

    mean_latency_s: float
    p50_latency_s: float
    p99_latency_s: float
    mean_ttft_s: float
    hit_rate: float


class ReplayFigures(msgspec.Struct, frozen=True):
    """Both, and how far the simulator is off: simulated over real."""

    engine: str
    cost_model: str
    steps: StepKind
    instances: int
    policy: str
    requests: int
    real: Figures
    simulated: Figures
    mean_ratio: float
    p99_ratio: float
    same_instance: float
    """Share of the requests that both placed on the same instance."""


class ReplayFailed(PrebleError):
    """A job of the benchmark did not complete."""


def run(settings: Settings, workload: Workload, say: Callable[[str], None]) -> ReplayFigures:
    """Run the workload on a stack of its own, and in the simulator.

    Raises:
        ConfigError: If the workload's blocks are not the pool's.
        ReplayFailed: If a job fails.
        PrebleError: If the stack cannot be run.
    """
    if workload.block_size != settings.block_size:
        msg = (
            f"the workload has blocks of {workload.block_size} tokens, the pool of "
            f"{settings.block_size}: read the trace with the pool's"
        )
        raise ConfigError(msg)
    steps: StepKind = "prefill_first" if settings.engine == "sglang" else "mixed"
    say(f"simulating {len(workload.requests)} requests")
    served = simulated(settings, workload, steps)
    say(f"{settings.workers} instances of engine {settings.engine}: starting")
    jobs = _run_real(settings, workload, say)
    return compare(settings, steps, served, jobs)


def simulated(settings: Settings, workload: Workload, steps: StepKind) -> Sequence[Served]:
    """The simulator's answer under the same settings."""
    engine = EngineSettings(
        cost_model=settings.cost_model, kv_capacity_tokens=settings.kv_capacity_tokens,
        chunk_tokens=settings.chunk_tokens, slots=settings.slots, steps=steps,
        wait_order=settings.wait_order,
    )  # fmt: skip
    speeds = (settings.emulated_speed if settings.engine == "emulated" else 1.0,)
    pool = PoolSettings(
        policy=settings.policy, engine=engine, speeds=speeds * settings.workers,
        history_s=settings.history_s,
    )  # fmt: skip
    return replay(workload, pool).served


def prompt_ids(request: TimedRequest, number: int, block_size: int) -> list[int]:
    """Token ids of a prompt: the same block key gives the same block, the rest is its own."""
    ids: list[int] = []
    for key in unpack_keys(request.block_keys):
        ids += _ids(random.Random(key), block_size)  # noqa: S311 - data, not secrets
    return ids + _ids(random.Random(-number - 1), request.prompt_tokens - len(ids))  # noqa: S311 - data


def compare(
    settings: Settings, steps: StepKind, served: Sequence[Served], jobs: Sequence[Job]
) -> ReplayFigures:
    """Both sides' figures; `served` and `jobs` are in the workload's order."""
    real, simulated_ = _figures_of_jobs(jobs), _figures_of_served(served)
    names = sorted(worker.instance for worker in worker_settings(settings))
    same = [job.instance == names[each.instance] for job, each in zip(jobs, served, strict=True)]
    return ReplayFigures(
        engine=settings.engine, cost_model=settings.cost_model, steps=steps,
        instances=settings.workers, policy=settings.policy, requests=len(jobs),
        real=real, simulated=simulated_,
        mean_ratio=round(simulated_.mean_latency_s / real.mean_latency_s, 3),
        p99_ratio=round(simulated_.p99_latency_s / real.p99_latency_s, 3),
        same_instance=round(sum(same) / len(same), 3),
    )  # fmt: skip


def _ids(chance: random.Random, number: int) -> list[int]:
    return [chance.randint(_FIRST_ID, _LAST_ID) for _ in range(number)]


def _run_real(settings: Settings, workload: Workload, say: Callable[[str], None]) -> Sequence[Job]:
    prompts = [
        _fields(request, prompt_ids(request, number, workload.block_size))
        for number, request in enumerate(workload.requests)
    ]
    with (
        private_stack(settings) as stack,
        PrebleClient(stack.url, api_key=settings.api_key) as client,
    ):
        _warm_up(client, settings)
        say(f"{len(prompts)} jobs in {workload.requests[-1].at_s:.0f} s")
        return _submit_in_time(client, workload.requests, prompts)


def _warm_up(client: PrebleClient, settings: Settings) -> None:
    """The first step of an engine takes longer: every instance makes one before."""
    chance = random.Random(WARM_UP)  # noqa: S311 - data, not secrets
    jobs = client.submit([_body(_ids(chance, 8), 2) for _ in range(4 * settings.workers)])
    with client.watch() as watch:
        watch.add(jobs)
        while watch.num_open:
            watch.look()


def _submit_in_time(
    client: PrebleClient, requests: Sequence[TimedRequest], prompts: Sequence[JobFields]
) -> Sequence[Job]:
    """Submit each at its time. Returns the ended jobs in the same order."""
    order: list[str] = []
    ended: dict[str, Job] = {}
    began_s = time.monotonic()
    with client.watch() as watch:
        for request, prompt in zip(requests, prompts, strict=True):
            time.sleep(max(0.0, began_s + request.at_s - time.monotonic()))
            jobs = client.submit([prompt])
            order += jobs
            watch.add(jobs)
        while len(ended) < len(order):
            ended.update((job.id, job) for job in watch.look())
    return [ended[job_id] for job_id in order]


def _fields(request: TimedRequest, ids: list[int]) -> JobFields:
    return _body(ids, request.output_tokens)


def _body(ids: list[int], output_tokens: int) -> JobFields:
    sampling = {"max_new_tokens": output_tokens, "temperature": 0.0, "ignore_eos": True}
    return {"input_ids": ids, "sampling_params": sampling}


def _figures_of_served(served: Sequence[Served]) -> Figures:
    return _figures(
        [each.latency_s for each in served], [each.ttft_s for each in served],
        sum(each.hit_tokens for each in served),
        sum(each.request.prompt_tokens for each in served),
    )  # fmt: skip


def _figures_of_jobs(jobs: Sequence[Job]) -> Figures:
    latencies_s: list[float] = []
    ttfts_s: list[float] = []
    hit_tokens = 0
    for job in jobs:
        if job.result is None or job.ended_at is None:
            reason = f"{job.error.code}: {job.error.message}" if job.error else job.status
            msg = f"job {job.id} did not complete: {reason}"
            raise ReplayFailed(msg)
        latency_s = job.ended_at - job.created_at
        latencies_s.append(latency_s)
        ttfts_s.append(latency_s - (job.result.engine_s - job.result.ttft_s))
        hit_tokens += job.result.usage.cached_tokens
    return _figures(latencies_s, ttfts_s, hit_tokens, sum(job.prompt_tokens for job in jobs))


def _figures(
    latencies_s: Sequence[float], ttfts_s: Sequence[float], hit_tokens: int, prompt_tokens: int
) -> Figures:
    ordered = sorted(latencies_s)
    return Figures(
        mean_latency_s=round(sum(ordered) / len(ordered), 3),
        p50_latency_s=round(quantile(ordered, 0.5), 3),
        p99_latency_s=round(quantile(ordered, 0.99), 3),
        mean_ttft_s=round(sum(ttfts_s) / len(ttfts_s), 3),
        hit_rate=round(hit_tokens / prompt_tokens, 4),
    )
