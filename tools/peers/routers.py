"""Peers' routers as processes of their own, from another virtual environment."""

import asyncio
import resource
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from preble.config import PolicyName
from preble.errors import PrebleError

_START_S: Final = 60.0
_LOOK_S: Final = 0.2


class Router(msgspec.Struct, frozen=True):
    """A router, and the rule of ours that is to be like it.

    Args:
        name: In results.
        module: Python package that launches it.
        policy: Its own name of its rule.
        copy: Our policy.
        flags: What else it is launched with: all other flags stay as they are by default.
        hears_load: Whether the engines tell it their load, if it asks.
    """

    name: str
    module: str
    policy: str
    copy: PolicyName
    flags: tuple[str, ...] = ()
    hears_load: bool = True


CONTROL: Final = Router("round_robin", "sglang_router", "round_robin", "round_robin")
"""What differs here is not the rule: it says how exact the comparison is."""

SMG_BARE: Final = (
    "--disable-worker-overload-protection",
    "--worker-warmup-secs=0",
    "--worker-warmup-divert-every=0",
)
"""Leaves what our copy has: the match, the gate and the least expected wait."""

ROUTERS: Final = (
    Router("sglang-router", "sglang_router", "cache_aware", "sglang_cache_aware"),
    Router("smg", "smg", "cache_aware", "smg"),
    Router("smg, not told loads", "smg", "cache_aware", "smg", hears_load=False),
    Router("smg, bare rule", "smg", "cache_aware", "smg", flags=SMG_BARE),
)


class RouterFailed(PrebleError):
    """A router did not come up."""


@asynccontextmanager
async def running(router: Router, python: Path, workers: Sequence[str]) -> AsyncGenerator[str]:
    """The URL of a router in front of these workers, ready to be used.

    Raises:
        RouterFailed: If it is not ready within a minute.
    """
    port, metrics_port = _free_port(), _free_port()
    process = await asyncio.create_subprocess_exec(
        str(python), "-m", f"{router.module}.launch_router", "--host", "127.0.0.1",
        "--port", str(port), "--prometheus-port", str(metrics_port), "--log-level", "error",
        "--policy", router.policy, *router.flags, "--worker-urls", *workers,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        await _ready(url, len(workers), process)
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def cpu_s() -> float:
    """CPU seconds of this process, and of those it started that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


async def _ready(url: str, num_workers: int, process: asyncio.subprocess.Process) -> None:
    async with httpx2.AsyncClient(base_url=url) as client:
        for _ in range(round(_START_S / _LOOK_S)):
            if process.returncode is not None:
                raise RouterFailed(f"it ended at once, with status {process.returncode}")
            if await _healthy_workers(client) == num_workers:
                return
            await asyncio.sleep(_LOOK_S)
    raise RouterFailed(f"not all of {num_workers} workers were ready within {_START_S:.0f} s")


async def _healthy_workers(client: httpx2.AsyncClient) -> int:
    try:
        answer = await client.get("/workers")
    except httpx2.TransportError:
        return 0
    workers = answer.json().get("workers", ()) if answer.is_success else ()
    return sum(bool(worker.get("is_healthy")) for worker in workers)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
