"""`preble bench replay`: one trace through the dispatcher, and beside it through the simulator.

The dispatcher is a whole private stack with the engine that the settings name; requests are
submitted at their times of arrival, with prompts that share exactly the blocks that the
trace's prompts share. The simulator replays the same trace with the same policy, binding and
cost model. What differs is what the simulator does not know. With several policies, each on a
stack of its own, the question is whether both sides rank them alike.
"""

import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from preble.bench.cpu import CpuFigures, CpuMeter
from preble.bench.prompts import job_fields, prompt_ids, random_ids
from preble.bench.ranking import Ranking, rank
from preble.client import Client, Job, JobFields
from preble.config import Binding, PolicyName, Settings
from preble.errors import ConfigError, PrebleError
from preble.quantiles import quantile
from preble.serve.plan import worker_settings
from preble.serve.private import private_stack
from preble.simulator.outcome import PoolSettings, Served
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings, StepKind
from preble.simulator.workload import TimedRequest, Workload


class Figures(msgspec.Struct, frozen=True):
    """Of all requests, in seconds from arrival."""

    mean_latency_s: float
    p50_latency_s: float
    p99_latency_s: float
    mean_ttft_s: float
    hit_rate: float


class ReplayRow(msgspec.Struct, frozen=True):
    """One policy on both sides, and how far the simulator is off: simulated over real."""

    policy: str
    binding: Binding
    real: Figures
    simulated: Figures
    mean_ratio: float
    p99_ratio: float
    same_instance: float
    """Share of the requests that both placed on the same instance."""
    cpu: CpuFigures | None = None
    """Of the real side."""


class ReplayFigures(msgspec.Struct, frozen=True):
    """All policies."""

    workload: str
    engine: str
    cost_model: str
    speed: float
    """Of emulated engines, on both sides."""
    steps: StepKind
    instances: int
    requests: int
    rows: tuple[ReplayRow, ...]
    ranking: Ranking


class ReplayFailed(PrebleError):
    """A job of the benchmark did not complete."""


def run(
    settings: Settings, workload: Workload, policies: Sequence[PolicyName],
    say: Callable[[str], None],
) -> ReplayFigures:  # fmt: skip
    """Run the workload with each policy on a stack of its own, and in the simulator.

    Raises:
        ConfigError: If the workload's blocks are not the pool's.
        ReplayFailed: If a job fails.
        PrebleError: If a stack cannot be run.
    """
    if workload.block_size != settings.block_size:
        msg = (
            f"the workload has blocks of {workload.block_size} tokens, the pool of "
            f"{settings.block_size}: read the trace with the pool's"
        )
        raise ConfigError(msg)
    steps: StepKind = "prefill_first" if settings.engine == "sglang" else "mixed"
    rows = [_row(replace(settings, policy=policy), workload, steps, say) for policy in policies]
    return ReplayFigures(
        workload=workload.name, engine=settings.engine, cost_model=settings.cost_model,
        speed=_speed(settings), steps=steps, instances=settings.workers,
        requests=len(workload.requests), rows=tuple(rows), ranking=_ranking(rows),
    )  # fmt: skip


def _row(
    settings: Settings, workload: Workload, steps: StepKind, say: Callable[[str], None]
) -> ReplayRow:
    say(f"simulating {len(workload.requests)} requests, {settings.policy}")
    served = simulated(settings, workload, steps)
    say(f"{settings.workers} instances of engine {settings.engine}: starting")
    jobs, cpu = _run_real(settings, workload, say)
    return replace(compare(settings, served, jobs), cpu=cpu)


def _ranking(rows: Sequence[ReplayRow]) -> Ranking:
    return rank(
        {row.policy: row.real.mean_latency_s for row in rows},
        {row.policy: row.simulated.mean_latency_s for row in rows},
    )


def simulated(settings: Settings, workload: Workload, steps: StepKind) -> Sequence[Served]:
    """The simulator's answer under the same settings."""
    return replay(workload, pool_of(settings, steps)).served


def pool_of(settings: Settings, steps: StepKind) -> PoolSettings:
    """What the settings say of a stack, said to the simulator."""
    engine = EngineSettings(
        cost_model=settings.cost_model, kv_capacity_tokens=settings.kv_capacity_tokens,
        chunk_tokens=settings.chunk_tokens, slots=settings.slots, steps=steps,
        wait_order=settings.wait_order,
    )  # fmt: skip
    return PoolSettings(
        policy=settings.policy, engine=engine, speeds=(_speed(settings),) * settings.workers,
        history_s=settings.history_s, binding=_binding(settings), credit_s=settings.credit_s,
        window_jobs=settings.window_jobs, batch_window_jobs=settings.batch_window_jobs,
    )  # fmt: skip


def _speed(settings: Settings) -> float:
    return settings.emulated_speed if settings.engine == "emulated" else 1.0


def _binding(settings: Settings) -> Binding:
    return "late" if settings.is_late else "eager"


def compare(settings: Settings, served: Sequence[Served], jobs: Sequence[Job]) -> ReplayRow:
    """Both sides' figures; `served` and `jobs` are in the workload's order."""
    real, simulated_ = _figures_of_jobs(jobs), _figures_of_served(served)
    names = sorted(worker.instance for worker in worker_settings(settings))
    same = [job.instance == names[each.instance] for job, each in zip(jobs, served, strict=True)]
    return ReplayRow(
        policy=settings.policy, binding=_binding(settings), real=real, simulated=simulated_,
        mean_ratio=round(simulated_.mean_latency_s / real.mean_latency_s, 3),
        p99_ratio=round(simulated_.p99_latency_s / real.p99_latency_s, 3),
        same_instance=round(sum(same) / len(same), 3),
    )  # fmt: skip


def _run_real(
    settings: Settings, workload: Workload, say: Callable[[str], None]
) -> tuple[Sequence[Job], CpuFigures]:
    prompts = [
        job_fields(prompt_ids(request, number, workload.block_size), request.output_tokens)
        for number, request in enumerate(workload.requests)
    ]
    with (
        private_stack(settings) as stack,
        Client(stack.url, api_key=settings.api_key) as client,
    ):
        _warm_up(client, settings)
        say(f"{len(prompts)} jobs in {workload.requests[-1].at_s:.0f} s")
        meter = CpuMeter(stack.pid)
        jobs = _submit_in_time(client, workload.requests, prompts)
        return jobs, meter.figures()


def _warm_up(client: Client, settings: Settings) -> None:
    """The first step of an engine takes longer: every instance makes one before."""
    numbers = range(-4 * settings.workers, 0)
    client.wait(client.submit([job_fields(random_ids(number, 8), 2) for number in numbers]))


def _submit_in_time(
    client: Client, requests: Sequence[TimedRequest], prompts: Sequence[JobFields]
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
