"""What is measured: a private Valkey, and one api process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from preble.config import Settings, to_environ
from preble.serve.embedded_redis import is_serving, redis_url, valkey_binary, valkey_command
from preble.serve.network import claim_port


@asynccontextmanager
async def valkey(folder: Path) -> AsyncGenerator[str]:
    """A server that keeps nothing on the disk; yields its URL."""
    port = claim_port("127.0.0.1", 0)
    command = (*valkey_command(valkey_binary(), folder, port), "--appendonly", "no")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        await until(lambda: is_serving(port, process.pid))
        yield redis_url(port)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def api(settings: Settings) -> AsyncGenerator[httpx2.AsyncClient]:
    """An api; yields a client of it, once it is ready."""
    environ = {**os.environ, **to_environ(settings)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "preble_api", env=environ, stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{settings.port}"
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            await until(lambda: _answers(client))
            yield client
    finally:
        process.terminate()
        await process.wait()


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).is_success
    except httpx2.TransportError:
        return False


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what others do. Raises: TimeoutError."""
    async with asyncio.timeout(60):
        while not await is_so():  # noqa: ASYNC110  # not ours
            await asyncio.sleep(0.05)
