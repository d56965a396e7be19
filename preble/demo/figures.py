"""What a round of the demo comes to. Pure."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from preble.client import Job
from preble.messages import JobState
from preble.quantiles import quantile


class RoundFigures(msgspec.Struct, frozen=True):
    """One policy's figures; latency is from acceptance to the end of a job (E2E)."""

    policy: str
    num_jobs: int
    num_completed: int
    num_with_hits: int
    """Jobs for which the engine took some of the prompt from its KV cache."""
    jobs_per_instance: dict[str, int]
    prompt_tokens: int
    predicted_hit_tokens: int
    delivered_hit_tokens: int
    mean_latency_s: float
    p99_latency_s: float
    wall_s: float

    @property
    def hit_rate(self) -> float:
        """Prompt tokens that the engines took from their KV caches, of all."""
        return self.delivered_hit_tokens / max(1, self.prompt_tokens)

    @property
    def is_complete(self) -> bool:
        """Whether every job was completed."""
        return self.num_completed == self.num_jobs


def round_figures(policy: str, jobs: Sequence[Job], *, wall_s: float) -> RoundFigures:
    """The figures of jobs that have ended.

    Args:
        policy: Which policy placed them.
        jobs: Not empty.
        wall_s: Seconds from the first submission to the last end.
    """
    latencies_s = sorted(job.ended_at - job.created_at for job in jobs if job.ended_at)
    results = [job.result for job in jobs if job.result]
    return RoundFigures(
        policy=policy,
        num_jobs=len(jobs),
        num_completed=sum(job.status is JobState.COMPLETED for job in jobs),
        num_with_hits=sum(result.usage.cached_tokens > 0 for result in results),
        jobs_per_instance=dict(sorted(Counter(job.instance or "none" for job in jobs).items())),
        prompt_tokens=sum(result.usage.prompt_tokens for result in results),
        predicted_hit_tokens=sum(result.prediction.hit_tokens for result in results),
        delivered_hit_tokens=sum(result.usage.cached_tokens for result in results),
        mean_latency_s=sum(latencies_s) / max(1, len(latencies_s)),
        p99_latency_s=quantile(latencies_s, 0.99),
        wall_s=wall_s,
    )
