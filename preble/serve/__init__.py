"""`preble serve`: the whole of Preble on one machine, as processes under one supervisor.

    serve ─┬─ valkey                 unless a Redis is named
           ├─ gpu0, gpu1, …          python -m preble_workers
           ├─ scheduler              python -m preble.scheduler_process
           └─ api                    python -m preble_api

The children are told everything through `PREBLE_*` variables, as they would be by hand.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from preble.config import Settings
from preble.engine_env import require_engine
from preble.folders import data_folder
from preble.serve.discovery import with_devices
from preble.serve.embedded_redis import (
    LOOPBACK,
    hold_folder,
    is_serving,
    redis_url,
    valkey_binary,
)
from preble.serve.network import (
    READYZ,
    claim_port,
    http_url,
    is_answering,
    reachable_host,
    ready_instances,
    without_password,
)
from preble.serve.plan import application_children, redis_child, worker_settings
from preble.serve.supervisor import READY_TIMEOUT_S, Supervisor

__all__ = ["API_LINE", "serve"]

API_LINE: Final = "api      "
"""How the line of stdout begins that names the api, once everything answers."""

_NAME_WIDTH: Final = 9


def serve(settings: Settings, *, embedded: bool) -> None:
    """Run everything until Ctrl-C or SIGTERM.

    URLs go to stdout once everything answers, lines of the children to stderr.

    Args:
        settings: What to run. Port 0 means a free one.
        embedded: Whether to bring a Valkey along; otherwise `redis_url` names a server.

    Raises:
        ConfigError: If a port is taken, the data folder is in use, no Valkey runs here, the
            engine is not installed, GPUs cannot be found or grouped, or a child refuses its
            configuration.
        StackFailed: If something does not become ready.
    """
    # Refuse what no worker could run, before anything starts.
    on_gpus = settings.engine == "sglang" and require_engine(settings, os.environ) == "gpu"
    settings = with_devices(settings, os.environ, on_gpus=on_gpus)
    worker_settings(settings)
    settings = msgspec.structs.replace(settings, port=claim_port(settings.host, settings.port))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(hold_folder(_folder(settings))) if embedded else None
        asyncio.run(_run(settings, folder))


def _folder(settings: Settings) -> Path:
    return Path(settings.data_dir) if settings.data_dir else data_folder(os.environ)


async def _run(settings: Settings, folder: Path | None) -> None:
    async with Supervisor(_say) as supervisor:
        _say("serve", f"starting {'valkey, ' if folder else ''}workers, scheduler and api")
        if folder:
            settings = await _start_redis(supervisor, settings, folder)
        supervisor.start(application_children(settings, os.environ))
        if await _until_ready(supervisor, settings):
            _print_urls(settings)
        await supervisor.wait()


async def _start_redis(supervisor: Supervisor, settings: Settings, folder: Path) -> Settings:
    """Start the embedded Valkey and wait for it. Returns the settings that name it."""
    port = claim_port(LOOPBACK, 0)
    child = redis_child(valkey_binary(), folder, port, os.environ)
    supervisor.start([child])

    async def is_ready() -> bool:
        return await is_serving(port, supervisor.pid(child.name))

    await supervisor.until(is_ready, "the embedded Valkey", timeout_s=READY_TIMEOUT_S)
    return msgspec.structs.replace(settings, redis_url=redis_url(port))


async def _until_ready(supervisor: Supervisor, settings: Settings) -> bool:
    """Wait for the api to answer and the workers to be registered."""
    workers = len(worker_settings(settings))
    host = reachable_host(settings.host)

    async def is_ready() -> bool:
        return await is_answering(
            host,
            settings.port,
            request=READYZ,
            is_right=lambda reply: ready_instances(reply) >= workers,
        )

    loading_s = settings.engine_start_s if settings.engine == "sglang" else 0.0
    timeout_s = READY_TIMEOUT_S + loading_s
    return await supervisor.until(is_ready, "the api or a worker", timeout_s=timeout_s)


def _print_urls(settings: Settings) -> None:
    names = ", ".join(worker.instance for worker in worker_settings(settings))
    api = http_url(settings.host, settings.port)
    _print(f"{API_LINE}{api}")
    _print(f"docs     {api}/docs")
    _print(f"redis    {without_password(settings.redis_url)}")
    _print(f"workers  {names}  ({settings.engine} engine, policy {settings.policy})")


def _print(line: str) -> None:
    # A reader that went away must not stop the supervisor.
    with contextlib.suppress(OSError):
        print(line, flush=True)  # noqa: T201 - the command's own output


def _say(name: str, line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"{name:<{_NAME_WIDTH}} | {line}", file=sys.stderr, flush=True)  # noqa: T201
