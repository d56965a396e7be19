"""Keeps child processes running until told to stop, and leaves none behind.

start ──▶ running ──exit──▶ waiting ──delay──▶ running
             │                 │
             │ exit status 2   │ stop
             ▼                 ▼
         all stop          stopped
"""

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby
from typing import Final, Self

from preble.errors import ConfigError, PrebleError
from preble.serve.processes import ChildSpec, Life
from preble.serve.restarts import count_failure, may_restart, restart_delay_s

GRACE_S: Final = 15.0
"""How long a child may take to stop after SIGTERM."""

READY_TIMEOUT_S: Final = 90.0
_PROBE_PERIOD_S: Final = 0.05
_CANNOT_EXECUTE: Final = 127

Say = Callable[[str, str], None]
"""Takes a child's name and one line about or from it."""


class StackFailed(PrebleError):
    """The processes could not be brought up."""


class Supervisor:
    """Runs children, restarts what dies, and stops them in order when its block ends.

    While the block is open it owns SIGINT, SIGTERM and SIGHUP: the first asks everything
    to stop, the second kills.

    Args:
        say: Where lines go.
        grace_s: Seconds a child may take to stop before it is killed.
    """

    def __init__(self, say: Say, *, grace_s: float = GRACE_S) -> None:
        self._say = say
        self._grace_s = grace_s
        self._children: list[_Child] = []
        self._signals = [signal.SIGINT, signal.SIGTERM]
        # `nohup` has it ignored, and means it.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._signals.append(signal.SIGHUP)
        self._over = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        """Take the signals over."""
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._asked_to_stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every child, last role first."""
        await self._stop_all()
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.remove_signal_handler(number)

    def start(self, specs: Iterable[ChildSpec]) -> None:
        """Start children, unless asked to stop already; returns at once.

        Call it from the main thread (`die_with`).
        """
        if not self._over.done():
            self._children += [_Child(spec, self._say, self._fail) for spec in specs]

    def pid(self, name: str) -> int:
        """Process id of a child's present life; 0 between two lives."""
        return next(child.pid for child in self._children if child.spec.name == name)

    async def until(
        self, is_ready: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float
    ) -> bool:
        """Wait until a probe says yes.

        Returns:
            True if it did, False if asked to stop meanwhile.

        Raises:
            ConfigError: If a child refused its configuration.
            StackFailed: If the time is over.
        """
        deadline_s = time.monotonic() + timeout_s
        while not await is_ready():
            if time.monotonic() > deadline_s:
                msg = f"{what} was not ready within {timeout_s:g} s: see the lines above"
                raise StackFailed(msg)
            if await self._wait_over(_PROBE_PERIOD_S):
                return False
        return True

    async def wait(self) -> None:
        """Wait until asked to stop. Raises: ConfigError as `until`."""
        await asyncio.shield(self._over)

    async def _wait_over(self, timeout_s: float) -> bool:
        await asyncio.wait([self._over], timeout=timeout_s)
        return self._over.done() and self._over.result() is None

    def _fail(self, error: BaseException) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    def _asked_to_stop(self) -> None:
        if self._over.done():
            self._say("serve", "asked again: killing what is left")
            for child in self._children:
                child.signal(signal.SIGKILL)
            return
        self._say("serve", "stopping")
        self._over.set_result(None)

    async def _stop_all(self) -> None:
        if self._over.done():
            # Whoever left the block has raised it, or something worse.
            self._over.exception()
        else:
            self._over.set_result(None)
        backwards = sorted(self._children, key=lambda child: -child.spec.role)
        for _, same_role in groupby(backwards, key=lambda child: child.spec.role):
            await asyncio.gather(*(child.stop(self._grace_s) for child in same_role))


class _Child:
    """One child through all its lives."""

    def __init__(self, spec: ChildSpec, say: Say, fail: Callable[[BaseException], None]) -> None:
        self.spec = spec
        self._say = say
        self._fail = fail
        self._life: Life | None = None
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._keep_running(), name=spec.name)
        self._task.add_done_callback(self._notice_bug)

    @property
    def pid(self) -> int:
        """Process id of the present life; 0 between two lives."""
        return self._life.pid if self._life else 0

    def _notice_bug(self, task: asyncio.Task[None]) -> None:
        """A child that nobody watches any more ends everything."""
        error = task.exception()
        if error:
            self._fail(error)

    async def _keep_running(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began_s = time.monotonic()
            status, last_line = await self._live_once()
            if self._stopping.is_set():
                return
            if not may_restart(status):
                self._fail(ConfigError(f"{self.spec.name} cannot run: {reason(last_line)}"))
                return
            failures = count_failure(failures, lived_s=time.monotonic() - began_s)
            await self._pause(ending(status), restart_delay_s(failures))

    async def _live_once(self) -> tuple[int, str]:
        """One life. Returns its exit status and its last line."""
        try:
            life = await Life.begin(self.spec)
        except OSError as error:
            return _CANNOT_EXECUTE, str(error)
        self._life = life
        try:
            if self._stopping.is_set():
                life.signal(signal.SIGTERM)
            return await life.run(self._report), life.last_line
        finally:
            self._life = None

    async def _pause(self, what: str, delay_s: float) -> None:
        self._report(f"{what}; starting it again in {delay_s:g} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    def _report(self, line: str) -> None:
        self._say(self.spec.name, line)

    def signal(self, number: signal.Signals) -> None:
        """Signal the present life, if there is one."""
        if self._life:
            self._life.signal(number)

    async def stop(self, grace_s: float) -> None:
        """End the present life, by force after `grace_s`, and begin no other."""
        self._stopping.set()
        self.signal(signal.SIGTERM)
        await asyncio.wait([self._task], timeout=grace_s)
        if not self._task.done():
            self._report(f"did not stop within {grace_s:g} s: killing it")
            self.signal(signal.SIGKILL)
        await self._task


_LOG_PREFIX: Final = re.compile(r"^(\S+Z [A-Z]+ [^:]*|preble[\w-]*): ")


def reason(line: str) -> str:
    """What a child's last line says, without time, level and process."""
    return _LOG_PREFIX.sub("", line)


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    names = (each.name for each in signal.Signals if each == -status)
    return f"was killed by {next(names, f'signal {-status}')}"
