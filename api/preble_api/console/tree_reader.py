"""Reads the prefix tree in a process of its own, `preble cache tree`, at the lowest priority.

To load a million blocks takes seconds of CPU, for which this process would answer nobody. Nobody
waits for it either: who asks is given what was read last, and the next reading begins.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from typing import Final

import msgspec

from preble.cached_prefixes import CachedPrefixes
from preble.clock import Clock
from preble.config import ENV_PREFIX, Settings

MOST_NODES: Final = 2_000
READ_EVERY_S: Final = 10.0
READ_WITHIN_S: Final = 60.0
_LOWEST: Final = 19

_decode: Final = msgspec.json.Decoder(CachedPrefixes).decode
_log = logging.getLogger(__name__)


class TreeReader:
    """What the pool has cached, as it was read last.

    Args:
        settings: Which pool, and where.
        clock: Tells how old that is.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        own = {"REDIS_URL": settings.redis_url, "POOL": settings.pool}
        self._environ = {f"{ENV_PREFIX}{name}": value for name, value in own.items()}
        self._clock = clock
        self._began_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self.seen: CachedPrefixes | None = None
        """None before the first reading has ended."""
        self.trouble = ""
        """Why the last reading failed, if it did."""
        self.version = 0
        """Another for each reading, be it in vain."""

    def look(self) -> None:
        """Begin to read, unless that is being done or was done a moment ago."""
        now_s = self._clock.now_s()
        if self._reading is None and now_s - self._began_s >= READ_EVERY_S:
            self._began_s = now_s
            self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """End a reading that goes on."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                self.seen, self.trouble = await self._ask(), ""
        except (OSError, TimeoutError, RuntimeError, msgspec.MsgspecError) as error:
            self.trouble = str(error) or f"not read within {READ_WITHIN_S:g} s"
            _log.warning("cannot read the prefix tree: %s", self.trouble)
        finally:
            self.version += 1
            self._reading = None

    async def _ask(self) -> CachedPrefixes:
        """Raises: OSError, RuntimeError, MsgspecError."""
        process = self._begin()
        end = asyncio.ensure_future(asyncio.to_thread(process.communicate))
        try:
            told, complaints = await asyncio.shield(end)
        except asyncio.CancelledError:
            process.kill()
            await end
            raise
        if process.returncode:
            last = complaints.decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(last or f"ended with status {process.returncode}")
        return _decode(told)

    def _begin(self) -> subprocess.Popen[bytes]:
        """The process. Raises: OSError.

        Not by the event loop's own way, nor with a function for the child to run: both copy the
        tables of this process' memory, which holds the loop for 20 ms.
        """
        process = subprocess.Popen(  # noqa: S603  # ours
            (sys.executable, "-m", "preble", "cache", "tree", "--json", "--limit", str(MOST_NODES)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | self._environ,
        )  # fmt: skip
        os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST)
        return process
