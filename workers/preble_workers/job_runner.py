"""One job in the engine: from its start to its outcome, whatever happens on the way."""

import asyncio
import logging
from collections.abc import Sequence

from preble.clock import Clock
from preble.errors import EngineRefused, EngineUnavailable
from preble.messages import ClaimedJob, JobFailure, JobResult, Outcome, TokenLogprob
from preble.tokenizer import Tokenizer
from preble_workers.engine import Completion, Engine, EngineRequest
from preble_workers.hit_predictor import Forecast, HitPredictor
from preble_workers.token_publisher import TokenPublisher

_log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs, any number at once.

    Args:
        engine: Computes them.
        predictor: Made their forecasts, and hears how they ended.
        tokenizer: Decodes what the engine says in tokens only.
        clock: Measures them.
        max_run_s: Longest run in the engine.
        tokens: Where what they make is told.
    """

    def __init__(
        self, engine: Engine, predictor: HitPredictor, tokenizer: Tokenizer, clock: Clock, *,
        max_run_s: float, tokens: TokenPublisher,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._predictor = predictor
        self._tokenizer = tokenizer
        self._clock = clock
        self._max_run_s = max_run_s
        self._tokens = tokens

    async def run(self, job: ClaimedJob, forecast: Forecast) -> Outcome:
        """Run one job, once the job that computes its prefix has done so.

        Raises:
            EngineUnavailable: If the engine lost it, which says nothing of the job.
        """
        try:
            return Outcome(job.lease, result=await self._result(job, forecast))
        except EngineUnavailable:
            raise
        except EngineRefused as error:
            failure = JobFailure("engine_refused", str(error))
        except TimeoutError:
            message = f"the engine did not end it within max_run_s {self._max_run_s:g}"
            failure = JobFailure("run_time_exceeded", message)
        except Exception:  # noqa: BLE001  # logged, and told to the client
            # The one place where a bug ends one job instead of all that run beside it.
            _log.exception("job %s met an unexpected error", job.job_id)
            failure = JobFailure("internal_error", "an error inside Preble; see the worker's log")
        return Outcome(job.lease, failure=failure)

    async def _result(self, job: ClaimedJob, forecast: Forecast) -> JobResult:
        stream = self._tokens.begin(job)
        request = EngineRequest(
            job.job_id, job.prompt, job.spec.sampling, job.spec.cache_salt,
            is_streamed=stream is not None,
        )  # fmt: skip
        is_computed = False

        def on_tokens(
            ids: Sequence[int], text: str | None, logprobs: Sequence[TokenLogprob]
        ) -> None:
            forecast.mark_computed()
            if stream is not None:
                stream.add(ids, text, logprobs)

        try:
            await self._predictor.leader_computed(forecast)
            started_s = self._clock.now_s()
            async with asyncio.timeout(self._max_run_s):
                completion = await self._engine.generate(request, on_tokens)
            is_computed = True
        finally:
            self._predictor.end(forecast, is_computed=is_computed)
            if stream is not None:
                self._tokens.end(stream)
        return JobResult(
            text=self._text(completion),
            output_ids=completion.output_ids,
            finish_reason=completion.finish_reason,
            prompt_tokens=job.spec.prompt_tokens,
            completion_tokens=len(completion.output_ids),
            cached_tokens=completion.cached_tokens,
            ttft_s=completion.ttft_s,
            engine_s=self._clock.now_s() - started_s,
            prediction=forecast.prediction,
            logprobs=completion.logprobs,
        )

    def _text(self, completion: Completion) -> str:
        if completion.text is None:
            return self._tokenizer.decode(completion.output_ids)
        return completion.text
