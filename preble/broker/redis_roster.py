"""DRAIN, RESUME and the roster on Redis; see `roster.py`."""

from datetime import datetime
from typing import Any, Final

import msgspec

from preble.broker.keys import PoolKeys
from preble.broker.redis_census import decoded, event_facts, job_of, pairs
from preble.broker.redis_client import Client, translated
from preble.broker.redis_questions import Question, Questions, Replies, questions_of_instance
from preble.broker.redis_replies import decode_record
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.roster import state_of
from preble.messages import QUARANTINE_AFTER, InstanceId, InstanceLoad, InstanceReport, InstanceView

_decode_report: Final = msgspec.msgpack.Decoder(InstanceReport).decode


class RedisRoster:
    """The instances of one pool. Implements `Roster`."""

    def __init__(self, client: Client, scripts: ScriptRunner, keys: PoolKeys) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = keys

    async def views(self) -> list[InstanceView]:
        """The registered instances and those that are drained, by id: three round trips."""
        replies = await self._ask(_questions_of_pool(self._keys))
        leases_ms, drained_ms = _scores(replies["leases", ""]), _scores(replies["drained", ""])
        names = sorted({*leases_ms, *drained_ms})
        asked: Questions = {}
        for name in names:
            asked |= _questions_of_one(self._keys, name)
        replies |= await self._ask(asked)
        replies |= await self._ask(self._attempts_of_single_jobs(replies, names))
        return [
            self._view(name, replies, leases_ms.get(name), drained_ms.get(name)) for name in names
        ]

    async def loads(self) -> list[InstanceLoad]:
        """The registered instances, by id: two round trips."""
        keys = self._keys
        with translated():
            registered = await self._client.zrange(keys("instances"), 0, -1)
            async with self._client.pipeline(transaction=False) as pipeline:
                for name in sorted(name.decode() for name in registered):
                    queue = keys.instance_queue(name)
                    pipeline.hget(keys("instance", instance=name), "record")
                    pipeline.llen(keys("queue", queue=queue))
                    pipeline.zcard(keys("started", queue=queue))
                replies = await pipeline.execute()
        triples = zip(replies[::3], replies[1::3], replies[2::3], strict=True)
        return [
            InstanceLoad(decode_record(record), assigned, running)
            for record, assigned, running in triples
            if record  # else it has left since it was listed
        ]

    async def drain(self, instance_id: InstanceId) -> bool:
        """Give an instance no more jobs."""
        return bool(await self._scripts.run("drain", instance_id))

    async def resume(self, instance_id: InstanceId) -> None:
        """Give an instance jobs again."""
        await self._scripts.run("resume", instance_id)

    async def _ask(self, questions: Questions) -> dict[Question, Any]:
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                for command in questions.values():
                    pipeline.execute_command(*command)
                return dict(zip(questions, await pipeline.execute(), strict=True))

    def _attempts_of_single_jobs(self, replies: Replies, names: list[str]) -> Questions:
        """A job of the quarantine runs alone, so no other needs to be looked at."""
        return {
            ("attempt", name): ("HGET", self._keys("job", job=job_of(lease)), "preble_attempt")
            for name in names
            if replies["running", name] == 1
            for lease in replies["leases of", name]
        }

    def _view(
        self, name: str, replies: Replies, lease_ms: float | None, drained_ms: float | None
    ) -> InstanceView:
        seconds, micros = replies["time", ""]
        now_ms = seconds * 1_000 + micros // 1_000
        record = decoded(decode_record, replies["record", name])
        events = event_facts(replies, name, record)
        assigned, running = replies["length", name], replies["running", name]
        state = state_of(
            is_registered=lease_ms is not None, is_alive=(lease_ms or 0) > now_ms,
            is_drained=drained_ms is not None, num_jobs=assigned + running,
            runs_alone=int(replies.get(("attempt", name)) or 0) > QUARANTINE_AFTER,
        )  # fmt: skip
        return InstanceView(
            instance_id=InstanceId(name), state=state, record=record, assigned=assigned,
            running=running, drained_at_s=None if drained_ms is None else drained_ms / 1_000,
            renewed_ago_s=_ago_s(replies["heartbeat", name], now_ms),
            report=decoded(_decode_report, replies["report", name]),
            unsaved_batches=events.batches_since_snapshot, lost_batches=events.lost_batches,
        )  # fmt: skip


def _questions_of_pool(keys: PoolKeys) -> Questions:
    return {
        ("time", ""): ("TIME",),
        ("leases", ""): ("ZRANGE", keys("instances"), 0, -1, "WITHSCORES"),
        ("drained", ""): ("ZRANGE", keys("drained"), 0, -1, "WITHSCORES"),
    }


def _questions_of_one(keys: PoolKeys, name: str) -> Questions:
    queue = keys.instance_queue(name)
    return questions_of_instance(keys, name) | {
        ("length", name): ("LLEN", keys("queue", queue=queue)),
        ("leases of", name): ("ZRANGE", keys("started", queue=queue), 0, 0),
        ("report", name): ("HGET", keys("instance", instance=name), "report"),
    }


def _scores(flat: list[bytes]) -> dict[str, float]:
    return {name.decode(): float(score) for name, score in pairs(flat)}


def _ago_s(written: bytes | None, now_ms: int) -> float | None:
    if written is None:
        return None
    return max(0.0, now_ms / 1_000 - datetime.fromisoformat(written.decode()).timestamp())
