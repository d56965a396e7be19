"""ADMIT and RETRY as the api calls them: what comes into a pool, large prompts sent ahead."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from preble.broker.answers import KEY_REUSED, PROMPT_DROPPED, Admitted, Refusal, Retried
from preble.broker.bounds import Bound, Bounds, DrainRate
from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Argument, Client, translated
from preble.broker.redis_confirmation import Confirmation
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.sent import sent_texts
from preble.errors import BrokerError, KeyReused, PromptDropped, QueueFull
from preble.messages import JobId, JobSpec, JobState, Submission

MAX_CALL_BYTES: Final = 1024 * 1024
"""Prompts above this, together, are staged before ADMIT, so that no call blocks Redis long."""

STAGED_TTL_S: Final = 60

_OK: Final = b"ok"


class RedisAdmission:
    """Takes new jobs into one pool."""

    def __init__(
        self, client: Client, scripts: ScriptRunner, keys: PoolKeys, *, bounds: Bounds,
        result_ttl_s: int, confirmation: Confirmation | None = None,
    ) -> None:  # fmt: skip
        self._client = client
        self._confirmation = confirmation
        self._scripts = scripts
        self._keys = keys
        self._bounds = bounds
        self._drain = DrainRate()
        self._result_ttl_s = result_ttl_s

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        """Take new jobs, each batch whole or not at all."""
        replies = await self._admit(batches)
        # A reply that said no was lost, and the prompts that were staged went with it.
        again = [at for at, reply in enumerate(replies) if _is_unstaged(reply)]
        if again:
            second = await self._admit([batches[at] for at in again])
            for at, reply in zip(again, second, strict=True):
                replies[at] = reply
        return [self._outcome(reply) for reply in replies]

    async def retry(self, job_ids: Sequence[JobId]) -> list[Retried]:
        """Let failed jobs wait again, each for itself."""
        replies = await self._scripts.run("retry", *self._pool_bounds(), *job_ids)
        return [reply and self._retried([part.decode() for part in reply]) for reply in replies]

    def _retried(self, told: Sequence[str]) -> Retried:
        match told:
            case ["full", bound, ended, now_ms]:
                return self._full(bound, ended, now_ms)
            case ["dropped", _]:
                return PromptDropped(PROMPT_DROPPED)
            case _:
                return JobState(told[0])

    async def _admit(self, batches: Sequence[Sequence[Submission]]) -> list[Any]:
        calls = [await self._arguments(batch) for batch in batches]
        if self._confirmation is None:
            return await self._scripts.run_each("admit", calls)
        then = self._confirmation.commands
        replies = await self._scripts.run_each("admit", calls, then=then)
        admitted, confirmed = replies[: len(calls)], replies[len(calls) :]
        refusal = self._confirmation.refusal(confirmed)
        return [refusal if refusal and _is_ok(reply) else reply for reply in admitted]

    async def _arguments(self, batch: Sequence[Submission]) -> list[Argument]:
        is_large = sum(len(job.prompt) for job in batch) > MAX_CALL_BYTES
        stage = await self._stage(batch) if is_large else ""
        bounds = self._bounds
        arguments: list[Argument] = [
            *self._pool_bounds(), bounds.tenant_jobs_per_s, bounds.tenant_burst_jobs,
            self._result_ttl_s, stage,
        ]  # fmt: skip
        for job in batch:
            spec, texts = job.spec, sent_texts(job)
            arguments += (
                job.job_id, self._keys.ingress_queue(spec.priority, spec.tenant), texts.spec,
                spec.total_tokens, _deadline_ms(spec), job.block_keys, texts.num_bytes,
                job.fingerprint, spec.inbox, texts.webhook, b"" if stage else job.prompt,
            )  # fmt: skip
        return arguments

    def _pool_bounds(self) -> Sequence[Argument]:
        """What ADMIT and RETRY have in common."""
        bounds = self._bounds
        return (
            bounds.max_jobs, bounds.max_prompt_bytes, bounds.max_ingresses, bounds.max_tenant_jobs,
        )  # fmt: skip

    async def _stage(self, batch: Sequence[Submission]) -> str:
        """Write prompts ahead of ADMIT; they expire if it never comes.

        Returns:
            The stage's name, which no other call has: under one job's id another request may be
            on its way, whose prompt this one must not run with.
        """
        stage = secrets.token_hex(8)
        with translated():
            for some in _by_call(batch):
                async with self._client.pipeline(transaction=False) as pipeline:
                    for job in some:
                        key = self._keys("staged", stage=stage, job=job.job_id)
                        pipeline.execute_command("SET", key, job.prompt, "EX", STAGED_TTL_S)
                    await pipeline.execute()
        return stage

    def _outcome(self, reply: Any) -> Admitted:  # noqa: ANN401  # a Lua reply or error
        if isinstance(reply, BrokerError):
            return reply
        match [part.decode() for part in reply]:
            case ["ok"]:
                return None
            case ["ok", left, full_in_ms]:
                return self._bounds.allowance(float(left), full_in_s=float(full_in_ms) / 1_000)
            case told:
                return self._refusal(told)

    def _refusal(self, told: Sequence[str]) -> Refusal:
        match told:
            case ["full", bound, ended, now_ms]:
                return self._full(bound, ended, now_ms)
            case ["fast", wait_ms]:
                return self._bounds.too_fast(int(wait_ms) / 1_000)
            case ["reused", _]:
                return KeyReused(KEY_REUSED)
            case ["unstaged", job]:
                return BrokerError(f"prompt of {job} expired before it was admitted")
            case other:
                return BrokerError(f"ADMIT replied {other}")

    def _full(self, bound: str, ended: str, now_ms: str) -> QueueFull:
        ended_per_s = self._drain.observe(int(ended), now_s=int(now_ms) / 1_000)
        return self._bounds.refusal(msgspec.convert(bound, Bound), ended_per_s=ended_per_s)


def _by_call(batch: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    """Jobs whose prompts go in one call: until they pass its bound."""
    some: list[Submission] = []
    room = MAX_CALL_BYTES
    for job in batch:
        some.append(job)
        room -= len(job.prompt)
        if room <= 0:
            yield some
            some, room = [], MAX_CALL_BYTES
    if some:
        yield some


def _is_ok(reply: Any) -> bool:  # noqa: ANN401  # a Lua reply or error
    return not isinstance(reply, BrokerError) and reply[0] == _OK


def _is_unstaged(reply: Any) -> bool:  # noqa: ANN401  # a Lua reply or error
    return not isinstance(reply, BrokerError) and reply[0] == b"unstaged"


def _deadline_ms(spec: JobSpec) -> Argument:
    return b"" if spec.deadline_s is None else int(spec.deadline_s * 1_000)
