"""ADMIT as the api calls it: batches of new jobs, large prompts sent ahead."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from preble.broker import KEY_REUSED, Refusal
from preble.broker.bounds import Bound, Bounds, DrainRate
from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Argument, Client, translated
from preble.broker.redis_scripts import ScriptRunner
from preble.errors import BrokerError, KeyReused
from preble.messages import JobSpec, Submission, encode

MAX_CALL_BYTES: Final = 1024 * 1024
"""Prompts above this, together, are staged before ADMIT, so that no call blocks Redis long."""

STAGED_TTL_S: Final = 60


class RedisAdmission:
    """Takes new jobs into one pool."""

    def __init__(
        self, client: Client, scripts: ScriptRunner, keys: PoolKeys, *, bounds: Bounds,
        result_ttl_s: int,
    ) -> None:  # fmt: skip
        self._client = client
        self._scripts = scripts
        self._keys = keys
        self._bounds = bounds
        self._drain = DrainRate()
        self._result_ttl_s = result_ttl_s

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Refusal | None]:
        """Take new jobs, each batch whole or not at all."""
        replies = await self._admit(batches)
        # A reply that said no was lost, and the prompts that were staged went with it.
        again = [at for at, reply in enumerate(replies) if _is_unstaged(reply)]
        if again:
            second = await self._admit([batches[at] for at in again])
            for at, reply in zip(again, second, strict=True):
                replies[at] = reply
        return [self._outcome(reply) for reply in replies]

    async def _admit(self, batches: Sequence[Sequence[Submission]]) -> list[Any]:
        calls = [await self._arguments(batch) for batch in batches]
        return await self._scripts.run_each("admit", calls)

    async def _arguments(self, batch: Sequence[Submission]) -> list[Argument]:
        is_staged = sum(len(job.prompt) for job in batch) > MAX_CALL_BYTES
        if is_staged:
            await self._stage(batch)
        bounds = self._bounds
        arguments: list[Argument] = [
            bounds.max_jobs, bounds.max_prompt_bytes, bounds.max_ingresses,
            bounds.max_tenant_jobs, bounds.tenant_jobs_per_s, bounds.tenant_burst_jobs,
            self._result_ttl_s,
        ]  # fmt: skip
        for job in batch:
            spec = job.spec
            arguments += (
                job.job_id, self._keys.ingress_queue(spec.priority, spec.tenant), encode(spec),
                spec.total_tokens, _deadline_ms(spec), job.block_keys, len(job.prompt),
                job.fingerprint, b"" if is_staged else job.prompt,
            )  # fmt: skip
        return arguments

    async def _stage(self, batch: Sequence[Submission]) -> None:
        """Write prompts ahead of ADMIT, one by one; they expire if it never comes."""
        with translated():
            for job in batch:
                key = self._keys("prompt", job=job.job_id)
                await self._client.set(key, job.prompt, ex=STAGED_TTL_S, nx=True)

    def _outcome(self, reply: Any) -> Refusal | None:  # noqa: ANN401  # a Lua reply or error
        if isinstance(reply, BrokerError):
            return reply
        told = [part.decode() for part in reply]
        return None if told == ["ok"] else self._refusal(told)

    def _refusal(self, told: Sequence[str]) -> Refusal:
        match told:
            case ["full", bound, ended, now_ms]:
                ended_per_s = self._drain.observe(int(ended), now_s=int(now_ms) / 1_000)
                known = msgspec.convert(bound, Bound)
                return self._bounds.refusal(known, ended_per_s=ended_per_s)
            case ["fast", wait_ms]:
                return self._bounds.too_fast(int(wait_ms) / 1_000)
            case ["reused", _]:
                return KeyReused(KEY_REUSED)
            case ["unstaged", job]:
                return BrokerError(f"prompt of {job} expired before it was admitted")
            case other:
                return BrokerError(f"ADMIT replied {other}")


def _is_unstaged(reply: Any) -> bool:  # noqa: ANN401  # a Lua reply or error
    return not isinstance(reply, BrokerError) and reply[0] == b"unstaged"


def _deadline_ms(spec: JobSpec) -> Argument:
    return b"" if spec.deadline_s is None else int(spec.deadline_s * 1_000)
