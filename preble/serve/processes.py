"""One life of a child process: start it, hear it, end it.

A child runs in a session of its own, so that Ctrl-C reaches the supervisor alone and the
order of stopping is ours. The kernel kills it when the supervisor dies, even by -9.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from enum import IntEnum
from typing import Final

import msgspec

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1

LONGEST_LINE_BYTES: Final = 64 * 1024
_DRAIN_S: Final = 0.5
"""How long to read on after a child's end; its own children may hold the pipe open."""


class Role(IntEnum):
    """What a child does. The order is the order of starting; stopping goes backwards."""

    REDIS = 0
    WORKER = 1
    SCHEDULER = 2
    API = 3


class ChildSpec(msgspec.Struct, frozen=True):
    """How to start one child."""

    name: str
    role: Role
    command: tuple[str, ...]
    environ: Mapping[str, str]


def die_with(parent_pid: int) -> Callable[[], None]:
    """What a child runs between fork and exec to be killed when `parent_pid` dies.

    The signal follows the *thread* that forked: fork from a thread that lives as long as
    the process, such as the main one.
    """

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the call above; then nobody would tell us.
        if os.getppid() != parent_pid:
            os._exit(1)

    return prepare


class Life:
    """One running process of a child, and the lines it writes."""

    def __init__(self, process: asyncio.subprocess.Process, output: "Output") -> None:
        self._process = process
        self._output = output
        self.last_line = ""

    @classmethod
    async def begin(cls, spec: ChildSpec) -> "Life":
        """Start the child.

        Raises:
            OSError: If it cannot be executed.
        """
        # A pipe of our own: asyncio's would keep `wait` from returning while a grandchild
        # holds it open.
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=spec.environ,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return cls(process, await Output.of(reading))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def run(self, say: Callable[[str], None]) -> int:
        """Hand every line to `say` until the process ends.

        Returns:
            Its exit status, negative for the signal that killed it.
        """
        relay = asyncio.create_task(self._relay(say))
        try:
            status = await self._process.wait()
            await asyncio.wait([relay], timeout=_DRAIN_S)
        finally:
            relay.cancel()
            self._output.close()
        return status

    async def _relay(self, say: Callable[[str], None]) -> None:
        async for line in lines(self._output.reader):
            self.last_line = line
            say(line)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; harmless after the end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


class Output:
    """The reading end of a child's pipe."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self.reader = reader
        self._transport = transport

    @classmethod
    async def of(cls, descriptor: int) -> "Output":
        """Read a pipe by its file descriptor, which this object then owns."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        return cls(reader, transport)

    def close(self) -> None:
        """Stop reading, even if someone still holds the writing end."""
        self._transport.close()


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of a stream without their ends; an overlong one is cut into pieces, none is lost."""
    rest = b""
    while chunk := await reader.read(LONGEST_LINE_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _text(line)
        if len(rest) >= LONGEST_LINE_BYTES:
            yield _text(rest)
            rest = b""
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip()
