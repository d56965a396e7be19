"""LEAD as a scheduler calls it: who leads, and whether Redis lost what it had written.

A replica that takes over, or a server that starts from an older file, may lack writes whose
callers were answered. A scheduler notices: it names to each LEAD the last beat that it was
told and the last signal that it heard; what is not there was lost.
"""

import logging
from datetime import UTC, datetime
from typing import Final

from preble.broker.redis_scripts import ScriptRunner
from preble.messages import LeaderToken

_log = logging.getLogger(__name__)

_LOST: Final = (
    "Redis lost writes of at most %.1f s, %s to %s (a failover, or a restart from an older file): "
    "jobs accepted then may be gone, jobs that ended then may run again; what is left goes on by "
    "itself. Submit again what is missing, under the same Idempotency-Key; docs/howto/failover.md"
)


class RedisLeader:
    """One scheduler's calls of LEAD and RESIGN, over all its terms."""

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts
        self._beat_ms = 0
        self._heard = ""

    def hear(self, signal_id: str) -> None:
        """Remember the newest signal that this scheduler has seen."""
        self._heard = signal_id

    async def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        """Become or stay the leader; None if another leads, or all must load anew."""
        token, self._beat_ms, *lost = await self._scripts.run(
            "lead", holder, int(ttl_s * 1_000), self._beat_ms, self._heard
        )
        if lost:
            self._heard = ""
            _report(*lost)
        return LeaderToken(token.decode()) if token else None

    async def resign(self, token: LeaderToken) -> None:
        """Give leadership up, if it is held."""
        await self._scripts.run("resign", token)


def _report(from_ms: int, to_ms: int) -> None:
    if from_ms:
        _log.error(_LOST, (to_ms - from_ms) / 1_000, _shown(from_ms), _shown(to_ms))
    else:
        _log.error("Redis lost all that it held, noticed at %s", _shown(to_ms))


def _shown(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds")
