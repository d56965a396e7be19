"""Webhooks on Redis; see `webhooks.py`."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Argument, Client, translated
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.webhooks import DeadStatus, DeadWebhook, DueWebhook, Room, Verdict
from preble.messages import JobId, JobState, Webhook

_TAKEN: Final = 8
"""Values that WEBHOOK_TAKE replies of each."""

_FIELDS: Final = ("webhook", "state", "ended_ms", "status", "attempts", "error")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Webhook).decode


class RedisWebhooks:
    """The webhooks of one pool. Implements `Webhooks`."""

    def __init__(self, client: Client, scripts: ScriptRunner, keys: PoolKeys) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = keys

    async def owe(self, subject: JobId, webhook: Webhook, state: JobState, *, tenant: str) -> bool:
        """Let the webhook of what is no job be due."""
        hook = _encode(webhook)
        return bool(await self._scripts.run("webhook_owe", subject, tenant, hook, state))

    async def take(self, room: Room, *, lease_s: float) -> list[DueWebhook]:
        """Lease those that are due, the longest overdue first."""
        under_way: list[Argument] = [each for pair in room.under_way.items() for each in pair]
        reply = await self._scripts.run(
            "webhook_take", room.webhooks, int(lease_s * 1_000), room.of_tenant, *under_way
        )
        rows = (reply[at : at + _TAKEN] for at in range(0, len(reply), _TAKEN))
        return [_due(*row) for row in rows]

    async def settle(self, due: DueWebhook, verdict: Verdict) -> bool:
        """Say how an attempt ended."""
        return bool(
            await self._scripts.run(
                "webhook_settle", due.job_id, due.lease_ms, verdict.status, verdict.error,
                int(verdict.delay_s * 1_000), int(verdict.is_attempt),
            )
        )  # fmt: skip

    async def dead(self, limit: int) -> list[DeadWebhook]:
        """Dead letters, the newest first."""
        with translated():
            listed = await self._client.execute_command(
                "ZREVRANGE", self._keys("dead_webhooks"), 0, limit - 1, "WITHSCORES"
            )
            names = [job.decode() for job in listed[::2]]
            async with self._client.pipeline(transaction=False) as pipeline:
                for name in names:
                    key = self._keys("webhook", job=name)
                    pipeline.execute_command("HMGET", key, *_FIELDS)
                records = await pipeline.execute() if names else []
        rows = zip(names, listed[1::2], records, strict=True)
        return [_dead(name, at_ms, record) for name, at_ms, record in rows if record[0]]

    async def retry(self, job_ids: Sequence[JobId]) -> list[bool]:
        """Let dead letters be due at once."""
        return [bool(was_dead) for was_dead in await self._scripts.run("webhook_retry", *job_ids)]


def _due(
    job: bytes, lease_ms: int, webhook: bytes, tenant: bytes, state: bytes, ended_ms: bytes,
    owed_ms: int, attempt: int,
) -> DueWebhook:  # fmt: skip
    return DueWebhook(
        JobId(job.decode()), _decode(webhook), tenant.decode(), JobState(state.decode()),
        int(ended_ms) / 1_000, owed_ms / 1_000, attempt, lease_ms,
    )  # fmt: skip


def _dead(job: str, at_ms: bytes, record: Sequence[Any]) -> DeadWebhook:
    webhook, state, ended_ms, status, attempts, error = record
    return DeadWebhook(
        JobId(job), _decode(webhook), JobState(state.decode()), int(ended_ms) / 1_000,
        msgspec.convert(status.decode(), DeadStatus), int(attempts), error.decode(),
        float(at_ms) / 1_000,
    )  # fmt: skip
