"""What a run came to, counted as it goes. Pure."""

from array import array
from typing import Final

import msgspec
import numpy as np

from preble.batch.results import Answered, Ending
from preble.cost_model import CostModel
from preble.quantiles import quantile

_MINUTE_S: Final = 60


class Report(msgspec.Struct, frozen=True):
    """The figures of one run; latency is from acceptance to the end of a job."""

    lines: int
    """Of the input."""
    done_before: int
    """By earlier runs, `failed_before` among them."""
    failed_before: int
    ok: int
    failed: int
    """Those that no job could be made of among them."""
    expired: int
    """Of the failed ones those whose deadline came first."""
    left: int
    """Neither done before nor ended in this run."""
    wall_s: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    hit_rate: float
    """Prompt tokens that the engines took from their KV caches, of all."""
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    latency_p50_s: float
    latency_p99_s: float
    saved_gpu_s: float
    """Prefill of the cached tokens, as the cost model predicts it."""
    cost_model: str


class Tally:
    """Counts endings.

    Args:
        lines: Of the input.
        done_before: By earlier runs.
        failed_before: Of them.
        cost_model: Says what the cached tokens would have cost.
    """

    def __init__(
        self, *, lines: int, done_before: int, failed_before: int, cost_model: CostModel
    ) -> None:
        self.lines = lines
        self.done_before = done_before
        self.failed_before = failed_before
        self.ok = self.failed = self.expired = 0
        self.prompt_tokens = self.cached_tokens = self.output_tokens = 0
        self._saved_s = 0.0
        self._latencies_s = array("f")
        self._cost_model = cost_model

    @property
    def ended(self) -> int:
        """Lines that are done, now or before."""
        return self.done_before + self.ok + self.failed

    @property
    def hit_rate(self) -> float:
        """Cached tokens of all prompt tokens."""
        return self.cached_tokens / max(1, self.prompt_tokens)

    def count(self, ending: Ending) -> None:
        """One more line has ended."""
        if not isinstance(ending, Answered):
            self.failed += 1
            self.expired += ending.has_expired
            return
        usage, job = ending.result.usage, ending.job
        self.ok += 1
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.output_tokens += usage.completion_tokens
        if job.ended_at is not None:
            self._latencies_s.append(job.ended_at - job.created_at)
        if usage.cached_tokens:
            self._saved_s += self._prefill_s(usage.prompt_tokens, usage.cached_tokens)

    def _prefill_s(self, prompt_tokens: int, cached_tokens: int) -> float:
        """What the cached tokens spared."""
        whole_s = self._cost_model.prefill_s(prompt_tokens, prompt_tokens)
        rest_s = self._cost_model.prefill_s(prompt_tokens - cached_tokens, prompt_tokens)
        return max(0.0, whole_s - rest_s)

    def report(self, wall_s: float) -> Report:
        """What it came to after so many seconds."""
        ordered = array("f", np.sort(np.array(self._latencies_s, dtype=np.float32)).tobytes())
        return Report(
            lines=self.lines,
            done_before=self.done_before,
            failed_before=self.failed_before,
            ok=self.ok,
            failed=self.failed,
            expired=self.expired,
            left=self.lines - self.ended,
            wall_s=round(wall_s, 3),
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            hit_rate=round(self.hit_rate, 4),
            prompt_tokens_per_s=round(self.prompt_tokens / max(wall_s, 1e-9), 1),
            output_tokens_per_s=round(self.output_tokens / max(wall_s, 1e-9), 1),
            latency_p50_s=round(quantile(ordered, 0.5), 3),
            latency_p99_s=round(quantile(ordered, 0.99), 3),
            saved_gpu_s=round(self._saved_s, 3),
            cost_model=self._cost_model.name,
        )


def shown(report: Report) -> str:
    """The report for people."""
    before = f", {report.done_before:,} done before" if report.done_before else ""
    before += f" ({report.failed_before:,} of them failed)" if report.failed_before else ""
    left = f", {report.left:,} left" if report.left else ""
    rows = {
        "lines": f"{report.ok:,} ok, {report.failed:,} failed{before}{left}, "
        f"of {report.lines:,} in {duration(report.wall_s)}",
        "tokens": f"{report.prompt_tokens:,} prompt ({report.cached_tokens:,} cached), "
        f"{report.output_tokens:,} output",
        "hit rate": f"{report.hit_rate:.1%}",
        "throughput": f"{report.prompt_tokens_per_s:,.0f} prompt and "
        f"{report.output_tokens_per_s:,.0f} output tokens/s",
        "latency": f"p50 {report.latency_p50_s:.2f} s, p99 {report.latency_p99_s:.2f} s",
        "GPU saved": f"{report.saved_gpu_s:,.1f} s of prefill, by cost model {report.cost_model}",
    }
    return "\n".join(f"{name:<11} {value}" for name, value in rows.items())


def duration(seconds: float) -> str:
    """As people say it."""
    minutes, rest_s = divmod(round(seconds), _MINUTE_S)
    hours, minutes = divmod(minutes, _MINUTE_S)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{seconds:.1f} s"
