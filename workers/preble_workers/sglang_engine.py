"""An SGLang server that the worker starts, watches, and starts again when it dies or hangs.

    SGLangEngine ── owns ──▶ SGLangServer     processes
                 ── speaks ▶ HttpEngine       one for each server's life, by its URL

A server that has died takes its KV cache with it: the new one reports its events from the
first, which clears what was believed of the old.
"""

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final, Literal

from preble.clock import Clock
from preble.config import Settings
from preble.errors import ConfigError, EngineUnavailable
from preble.serve.network import claim_port
from preble.serve.supervisor import ending
from preble_workers.engine import Completion, EngineInfo, EngineRequest, OnTokens, PageEvent
from preble_workers.http_engine import HttpEngine
from preble_workers.sglang_command import ServerPlace, server_command, server_environ
from preble_workers.sglang_server import SGLangServer

_PROGRESS_EVERY_S: Final = 5.0
_HEALTH_POLL_S: Final = 0.5
_SHOWN_LINES: Final = 12
_LONGEST_FOLDER_BYTES: Final = 90
"""A socket's whole path has 107 at most."""
_ARGUMENT_ERROR: Final = "launch_server.py: error: "
"""How its last line begins if it does not understand its command line."""

_log = logging.getLogger(__name__)


class SGLangEngine:
    """Supervises one server.

    Args:
        settings: What to serve, and how.
        python: An interpreter that has SGLang.
        kind: What its SGLang is made for.
        assumed: What the server takes, where it does not say itself.
        clock: Measures TTFT, and the time that loading takes.
    """

    def __init__(
        self, settings: Settings, python: Path, kind: Literal["cpu", "gpu"], assumed: EngineInfo,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._python = python
        self._kind: Literal["cpu", "gpu"] = kind
        self._assumed = assumed
        self._clock = clock
        self._folder: Path | None = None
        self._server: SGLangServer | None = None
        self._http: HttpEngine | None = None
        self._steps_before = 0

    async def start(self) -> EngineInfo:
        """Start a server and wait until it is ready, unless the present one is well.

        Raises:
            ConfigError: If SGLang does not understand its arguments.
            EngineUnavailable: If it ends or is not ready in time; what it said is logged.
        """
        if self._server and self._http and self._server.is_running:
            if await self._http.is_healthy():
                return await self._http.start()
            _log.warning("SGLang pid=%d does not answer: stopping it", self._server.pid)
        await self._stop()
        try:
            return await self._begin()
        except BaseException:
            # A server that was given up must not keep its memory until the next try.
            await self._stop()
            raise

    async def generate(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        """As `HttpEngine.generate`.

        Raises:
            EngineRefused: If the server answers with a client's error.
            EngineUnavailable: If there is no server, or it dies or fails.
        """
        return await self._present().generate(request, on_tokens)

    def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        """The present server's events, from AllPagesCleared on for each new server."""
        return self._present().page_events()

    async def flush(self) -> None:
        """Empty the cache. Raises: EngineUnavailable while requests run."""
        await self._present().flush()

    async def lost(self) -> None:
        """Return when the server has ended."""
        if self._server is None:
            return
        server = self._server
        status = await server.ended()
        _log.error("SGLang pid=%d %s", server.pid, ending(status))
        _show_last_lines(server)

    @property
    def steps(self) -> int:
        """Never falls, whatever becomes of the servers."""
        return self._steps_before + (self._http.steps if self._http else 0)

    async def close(self) -> None:
        """End the server, and all calls with EngineUnavailable."""
        await self._stop()

    def _present(self) -> HttpEngine:
        if self._http is None:
            msg = "the engine is not running"
            raise EngineUnavailable(msg)
        return self._http

    async def _begin(self) -> EngineInfo:
        self._folder = Path(tempfile.mkdtemp(prefix="preble-sglang-"))
        if len(os.fsencode(self._folder)) > _LONGEST_FOLDER_BYTES:
            msg = f"the path of {self._folder} is too long for a socket: set a shorter TMPDIR"
            raise ConfigError(msg)
        place = ServerPlace(claim_port("127.0.0.1", 0), self._folder)
        settings = self._settings
        command = server_command(settings, self._python, self._kind, place)
        environ = server_environ(settings, os.environ, cores=len(os.sched_getaffinity(0)))
        _log.info("starting SGLang on %s with model %s", self._kind, settings.model_path)
        try:
            self._server = await SGLangServer.begin(command, environ)
        except OSError as error:
            msg = f"cannot start SGLang by {self._python}: {error.strerror}"
            raise ConfigError(msg) from None
        self._http = HttpEngine(
            place.url, assumed=self._assumed, block_size=settings.block_size, clock=self._clock,
            start_timeout_s=settings.engine_start_s,
        )  # fmt: skip
        info = await self._until_ready(self._server, self._http)
        _log.info("SGLang is ready pid=%d url=%s", self._server.pid, place.url)
        return info

    async def _until_ready(self, server: SGLangServer, http: HttpEngine) -> EngineInfo:
        """The server's info, once it has answered a request of its own.

        Raises:
            ConfigError: As `start`.
            EngineUnavailable: As `start`.
        """
        began_s = self._clock.now_s()
        ready = asyncio.create_task(_ready(http))
        ended = asyncio.create_task(server.ended())
        try:
            while not (ready.done() or ended.done()):
                tasks = {ready, ended}
                await asyncio.wait(
                    tasks, timeout=_PROGRESS_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                )
                waited_s = self._clock.now_s() - began_s
                self._check_start(server, waited_s)
                if not ready.done():
                    _log.info("SGLang is loading the model: %.0f s", waited_s)
            return ready.result()
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.wait({ready, ended})

    def _check_start(self, server: SGLangServer, waited_s: float) -> None:
        if not server.is_running:
            _show_last_lines(server)
            reason = (server.last_lines or ["it said nothing"])[-1]
            if reason.startswith(_ARGUMENT_ERROR):
                msg = f"SGLang does not take its arguments: {reason.removeprefix(_ARGUMENT_ERROR)}"
                raise ConfigError(msg)
            msg = f"SGLang ended while it started: {reason}"
            raise EngineUnavailable(msg)
        if waited_s > self._settings.engine_start_s:
            _show_last_lines(server)
            msg = f"SGLang was not ready within engine_start_s {self._settings.engine_start_s:g}"
            raise EngineUnavailable(msg)

    async def _stop(self) -> None:
        """Calls end with EngineUnavailable when their server does, so both end at once."""
        server, http, folder = self._server, self._http, self._folder
        self._server = self._http = self._folder = None
        try:
            async with asyncio.TaskGroup() as tasks:
                if http is not None:
                    self._steps_before += http.steps
                    tasks.create_task(http.close())
                if server is not None:
                    tasks.create_task(server.stop())
        finally:
            if server is not None:
                server.kill()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


async def _ready(http: HttpEngine) -> EngineInfo:
    info = await http.start()
    while not await http.is_healthy():  # noqa: ASYNC110  # another process
        await asyncio.sleep(_HEALTH_POLL_S)
    return info


def _show_last_lines(server: SGLangServer) -> None:
    for line in server.last_lines[-_SHOWN_LINES:]:
        _log.error("SGLang said: %s", line)
