"""Notes on Redis; see `notes.py`."""

from typing import Final

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.broker.redis_scripts import ScriptRunner
from preble.messages import JobId

_FIELD: Final = "preble_note"


class RedisNotes:
    """The notes of a pool's jobs. Implements `Notes`."""

    def __init__(self, client: Client, scripts: ScriptRunner, keys: PoolKeys) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = keys

    async def keep(self, job_id: JobId, note: bytes) -> bytes | None:
        """Keep a note with a job that was admitted, unless it has one."""
        kept: bytes | None = await self._scripts.run("note", job_id, note)
        return kept

    async def read(self, job_id: JobId) -> bytes | None:
        """A job's note."""
        with translated():
            found: bytes | None = await self._client.execute_command(
                "HGET", self._keys("job", job=job_id), _FIELD
            )
        return found

    async def drop(self, job_id: JobId) -> bool:
        """Remove a job's note."""
        with translated():
            dropped = await self._client.execute_command(
                "HDEL", self._keys("job", job=job_id), _FIELD
            )
        return bool(dropped)
