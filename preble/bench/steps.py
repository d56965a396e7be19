"""How long an engine's steps take: probes, one after the other, on a private stack.

What is sent, and why each is one step, stands in `preble.cost_model.probes`.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from preble.client import Client, JobFields, Result
from preble.config import Settings
from preble.cost_model.probes import (
    DECODE_TOKENS,
    DecodeProbe,
    decode_sample,
    plan_decodes,
    plan_prefills,
    prefill_sample,
)
from preble.cost_model.samples import StepSample
from preble.engine_env import require_engine
from preble.errors import ConfigError, PrebleError
from preble.serve.plan import worker_settings
from preble.serve.private import private_stack

REPEATS: Final = 3
"""Times that each step is measured; the quickest counts."""
_WARM_UPS: Final = 3
_POLL_S: Final = 0.1
"""Rarely enough not to slow an engine that shares the CPU."""
_FIRST_ID, _LAST_ID = 1_000, 15_000
"""Ordinary words in any vocabulary we serve."""


class ProbeFailed(PrebleError):
    """A probe's job did not complete."""


def run(settings: Settings, say: Callable[[str], None]) -> Iterator[StepSample]:
    """Time the steps of one engine on a private stack.

    Yields:
        Each as it was timed.

    Raises:
        ConfigError: If the settings do not name one engine that can be run.
        ProbeFailed: If a job fails.
        PrebleError: If the stack cannot be run.
    """
    if len(worker_settings(settings)) != 1:
        raise ConfigError("--measure takes one engine: name one URL, or no devices")
    if settings.engine == "sglang":
        require_engine(settings, os.environ)
    say(f"one instance of engine {settings.engine}: starting")
    with (
        private_stack(settings) as stack,
        Client(stack.url, api_key=settings.api_key) as client,
    ):
        prober = Prober(client, settings)
        prober.warm_up()
        yield from prober.prefills(say)
        yield from prober.decodes(say)


class Prober:
    """Sends probes to an engine that does nothing else.

    Args:
        client: Of its stack.
        settings: Of the engine.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._rng = random.Random(1)  # noqa: S311 - data, not secrets

    def warm_up(self) -> None:
        """Let the engine allocate and compile what it does at first."""
        for _ in range(_WARM_UPS):
            self._run([self._ids(64)], DECODE_TOKENS)

    def prefills(self, say: Callable[[str], None]) -> Iterator[StepSample]:
        """Each prefill probe, alone, with new tokens of its own each time."""
        bases: dict[int, list[int]] = {}
        for probe in plan_prefills(self._settings):
            say(f"prefill of {probe.new_tokens} tokens over {probe.base_tokens}")
            if probe.base_tokens not in bases:
                bases[probe.base_tokens] = self._held(1, probe.base_tokens)[0]
            base = bases[probe.base_tokens]
            yield from _quickest(self._prefill(base, probe.new_tokens) for _ in range(REPEATS))

    def decodes(self, say: Callable[[str], None]) -> Iterator[StepSample]:
        """Each decode probe, with prompts that the engine has just computed."""
        prompts: list[list[int]] = []
        for probe in plan_decodes(self._settings):
            say(f"decode of {probe.num_requests} requests with {probe.prompt_tokens} tokens each")
            if prompts and len(prompts[0]) != probe.prompt_tokens:
                prompts = []
            prompts += self._held(probe.num_requests - len(prompts), probe.prompt_tokens)
            yield from _quickest(self._decode(probe, prompts) for _ in range(REPEATS))

    def _prefill(self, base: list[int], new_tokens: int) -> StepSample | None:
        prompt = base + self._ids(new_tokens)
        result = self._run([prompt], 1)[0]
        return prefill_sample(
            self._settings, prompt_tokens=len(prompt),
            cached_tokens=result.usage.cached_tokens, ttft_s=result.ttft_s,
        )  # fmt: skip

    def _decode(self, probe: DecodeProbe, prompts: Sequence[list[int]]) -> StepSample | None:
        results = self._run(prompts, DECODE_TOKENS)
        return decode_sample(
            self._settings, probe,
            cached_tokens=min(result.usage.cached_tokens for result in results),
            # Who joined last saw no other's prefill.
            token_s=min((each.engine_s - each.ttft_s) / (DECODE_TOKENS - 1) for each in results),
        )  # fmt: skip

    def _held(self, count: int, num_tokens: int) -> list[list[int]]:
        """New prompts that the engine now holds."""
        prompts = [self._ids(num_tokens) for _ in range(count)]
        if num_tokens:
            self._run(prompts, 1)
        return prompts

    def _run(self, prompts: Sequence[list[int]], output_tokens: int) -> list[Result]:
        sampling = {"max_new_tokens": output_tokens, "temperature": 0.0, "ignore_eos": True}
        jobs: list[JobFields] = [
            {"input_ids": prompt, "sampling_params": sampling} for prompt in prompts
        ]
        return [self._result(job_id) for job_id in self._client.submit(jobs)]

    def _result(self, job_id: str) -> Result:
        """What a job delivers in the end. Raises: ProbeFailed."""
        while not (job := self._client.get(job_id)).status.is_terminal:
            time.sleep(_POLL_S)
        if job.result is None:
            reason = f"{job.error.code}: {job.error.message}" if job.error else job.status
            raise ProbeFailed(f"job {job_id} did not complete: {reason}")
        return job.result

    def _ids(self, count: int) -> list[int]:
        return [self._rng.randint(_FIRST_ID, _LAST_ID) for _ in range(count)]


def _quickest(samples: Iterable[StepSample | None]) -> list[StepSample]:
    """The quickest, if there is any: whatever else the machine does can only slow a step."""
    timed = [sample for sample in samples if sample]
    return sorted(timed, key=lambda sample: sample.step_s)[:1]
