"""One SGLang server as a group of processes of ours, which never outlives us.

SGLang is a main process with a scheduler and a detokenizer beside it. They share a process
group, so that one signal ends all; and should this process die by -9, the kernel kills the main
process, whose end kills the others.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from preble.serve.processes import ChildSpec, Life, Role

_STOP_S: Final = 3.0
"""How long a server may take to stop by itself; what it leaves undone does no harm."""
_KEPT_LINES: Final = 20

_log = logging.getLogger(__name__)


class SGLangServer:
    """A running server. `begin` makes one."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._running = asyncio.create_task(life.run(self._hear), name="sglang-server")

    @classmethod
    async def begin(cls, command: Sequence[str], environ: Mapping[str, str]) -> "SGLangServer":
        """Start the processes.

        Raises:
            OSError: If the interpreter cannot be executed.
        """
        return cls(await Life.begin(ChildSpec("sglang", Role.WORKER, tuple(command), environ)))

    @property
    def pid(self) -> int:
        """Of the main process, and of the group."""
        return self._life.pid

    @property
    def is_running(self) -> bool:
        """Whether the main process lives."""
        return not self._running.done()

    @property
    def last_lines(self) -> list[str]:
        """What it said last."""
        return list(self._last_lines)

    async def ended(self) -> int:
        """Wait for its end. Returns: its exit status, negative for a signal."""
        return await asyncio.shield(self._running)

    async def stop(self) -> None:
        """End all its processes, by force if need be; harmless after their end."""
        self._signal(signal.SIGTERM)
        # A stopped process hears nothing until it goes on.
        self._signal(signal.SIGCONT)
        await asyncio.wait({self._running}, timeout=_STOP_S)
        self.kill()
        await asyncio.wait({self._running})

    def kill(self) -> None:
        """End all its processes at once; harmless after their end."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group: a child may have outlived the main process."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._life.pid, number)

    def _hear(self, line: str) -> None:
        self._last_lines.append(line)
        _log.debug("%s", line)
