"""What the executions of a worker add to its metrics and traces.

All times are of the worker's clock, but for how long a job had waited when it was claimed, which
the queue says: no clocks of two hosts are compared.
"""

from preble.clock import Clock
from preble.messages import ClaimedJob, JobResult, Outcome
from preble.metrics import WorkerMetrics
from preble.tracing import Attributes, Tracing


class Recorder:
    """Counts, times and traces executions.

    Args:
        metrics: Where they are counted.
        tracing: Where spans go, of jobs whose submission was traced.
        clock: The worker's.
        model: Its name, in spans.
    """

    def __init__(
        self, metrics: WorkerMetrics, tracing: Tracing, clock: Clock, *, model: str
    ) -> None:
        self.metrics = metrics
        self._tracing = tracing
        self._clock = clock
        self._model = model

    def submitted_at_s(self, job: ClaimedJob) -> float:
        """When a job that has just been claimed was submitted."""
        return self._clock.now_s() - job.waited_s

    def started(self, submitted_at_s: float) -> None:
        """An execution begins in the engine, or waits there for the prefix it shares."""
        self.metrics.queue_wait.observe(self._clock.now_s() - submitted_at_s)

    def ended(self, job: ClaimedJob, outcome: Outcome, submitted_at_s: float) -> None:
        """An execution came to its end in the engine."""
        since_submission_s = self._clock.now_s() - submitted_at_s
        if outcome.failure:
            self.metrics.execution_ended(outcome.failure.code)
        if outcome.result:
            self.metrics.execution_ended("completed")
            self.metrics.e2e.observe(since_submission_s)
            self._completed(outcome.result)
        if job.spec.traceparent:
            self._trace(job, outcome, since_submission_s)

    def engine_lost(self) -> None:
        """The engine lost an execution."""
        self.metrics.execution_ended("engine_lost")

    def _completed(self, result: JobResult) -> None:
        metrics = self.metrics
        metrics.ttft.observe(result.ttft_s)
        metrics.engine.observe(result.engine_s)
        if result.completion_tokens > 1:
            metrics.tpot.observe(result.decode_s / (result.completion_tokens - 1))
        metrics.prompt_tokens.inc(result.prompt_tokens)
        metrics.hit_tokens_predicted.inc(result.prediction.hit_tokens)
        metrics.hit_tokens_delivered.inc(result.cached_tokens)

    def _trace(self, job: ClaimedJob, outcome: Outcome, since_submission_s: float) -> None:
        """A span from the claim on, and below it that of the engine."""
        failure: Attributes = {"error.type": outcome.failure.code} if outcome.failure else {}
        told: Attributes = {
            "preble.job.id": job.job_id, "preble.job.attempt": job.attempt,
            "preble.job.waited_s": job.waited_s, **failure,
        }  # fmt: skip
        above = self._tracing.record(
            "job", parent=job.spec.traceparent, began_ago_s=since_submission_s - job.waited_s,
            attributes=told, is_error=outcome.failure is not None,
        )  # fmt: skip
        if outcome.result:
            self._tracing.record(
                f"text_completion {self._model}", parent=above,
                began_ago_s=outcome.result.engine_s, attributes=self._gen_ai(job, outcome.result),
            )  # fmt: skip

    def _gen_ai(self, job: ClaimedJob, result: JobResult) -> Attributes:
        """In the words of OpenTelemetry's conventions for GenAI, which are still in development."""
        return {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.provider.name": "preble",
            "gen_ai.request.model": self._model,
            "gen_ai.request.max_tokens": job.spec.sampling.max_new_tokens,
            "gen_ai.response.finish_reasons": (result.finish_reason,),
            "gen_ai.usage.input_tokens": result.prompt_tokens,
            "gen_ai.usage.output_tokens": result.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": result.cached_tokens,
            "preble.ttft_s": result.ttft_s,
        }
