"""DRAIN, RESUME and the roster on Redis; see `roster.py`."""

from datetime import datetime
from operator import itemgetter
from typing import Any, Final

import msgspec

from preble.broker.redis_census import decoded, event_facts
from preble.broker.redis_questions import SNAPSHOT_HEAD_BYTES
from preble.broker.redis_replies import decode_record
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.roster import state_of
from preble.messages import QUARANTINE_AFTER, InstanceId, InstanceReport, InstanceView

_decode_report: Final = msgspec.msgpack.Decoder(InstanceReport).decode


class RedisRoster:
    """The instances of one pool. Implements `Roster`."""

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts

    async def views(self) -> list[InstanceView]:
        """The registered instances and those that are drained, by id: one round trip."""
        now_ms, rows = await self._scripts.run("roster", SNAPSHOT_HEAD_BYTES)
        return [_view(now_ms, *row) for row in sorted(rows, key=itemgetter(0))]

    async def drain(self, instance_id: InstanceId) -> bool:
        """Give an instance no more jobs."""
        return bool(await self._scripts.run("drain", instance_id))

    async def resume(self, instance_id: InstanceId) -> None:
        """Give an instance jobs again."""
        await self._scripts.run("resume", instance_id)


def _view(now_ms: int, *row: Any) -> InstanceView:  # noqa: ANN401  # parts of a Lua reply
    (name, lease_ms, drained_ms, told, report, assigned, running, heartbeat, batches, newest,
     snapshot, attempt_alone) = row  # fmt: skip
    record = decoded(decode_record, told)
    events = event_facts(record, batches, newest, snapshot)
    state = state_of(
        is_registered=lease_ms is not None, is_alive=float(lease_ms or 0) > now_ms,
        is_drained=drained_ms is not None, num_jobs=assigned + running,
        runs_alone=int(attempt_alone or 0) > QUARANTINE_AFTER,
    )  # fmt: skip
    return InstanceView(
        instance_id=InstanceId(name.decode()), state=state, record=record, assigned=assigned,
        running=running, drained_at_s=None if drained_ms is None else float(drained_ms) / 1_000,
        renewed_ago_s=_ago_s(heartbeat, now_ms), report=decoded(_decode_report, report),
        unsaved_batches=events.batches_since_snapshot, lost_batches=events.lost_batches,
    )  # fmt: skip


def _ago_s(written: bytes | None, now_ms: int) -> float | None:
    if written is None:
        return None
    return max(0.0, now_ms / 1_000 - datetime.fromisoformat(written.decode()).timestamp())
