"""The page of metrics of a scheduler or worker, asked over a real socket."""

import asyncio

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from support import free_port

from preble.errors import ConfigError
from preble.metrics import SchedulerMetrics, process_registry
from preble.metrics_server import serving_metrics

pytestmark = pytest.mark.anyio


async def ask(port: int, path: str, method: str = "GET") -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"http://127.0.0.1:{port}{path}")


async def test_it_shows_metrics_and_that_it_lives_and_nothing_else() -> None:
    port, registry = free_port(), process_registry()
    SchedulerMetrics(registry)
    async with serving_metrics("127.0.0.1", port, registry):
        page = await ask(port, "/metrics?name=x")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/plain; version=")
        assert "preble_leading 0.0" in page.text.splitlines()
        assert "process_cpu_seconds_total" in page.text
        assert (await ask(port, "/livez")).json() == {"status": "ok"}
        assert (await ask(port, "/")).status_code == 404
        assert (await ask(port, "/metrics", "POST")).status_code == 405


async def test_without_a_port_nothing_listens() -> None:
    async with serving_metrics("an address that is none", 0, CollectorRegistry()):
        pass


async def test_a_port_that_is_taken_is_told() -> None:
    port = free_port()
    async with serving_metrics("127.0.0.1", port, CollectorRegistry()):
        with pytest.raises(ConfigError, match=f"cannot serve metrics on 127.0.0.1:{port}"):
            async with serving_metrics("127.0.0.1", port, CollectorRegistry()):
                pass


async def test_nonsense_and_silence_get_no_answer_and_leave_the_page_to_others() -> None:
    port = free_port()
    async with serving_metrics("127.0.0.1", port, CollectorRegistry()):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 100_000)
        assert await reader.read() == b""
        assert (await ask(port, "/livez")).status_code == 200
        for _, each in (*silent, (reader, writer)):
            each.close()


async def test_once_it_is_left_the_port_is_free() -> None:
    port = free_port()
    for _ in range(2):
        async with serving_metrics("127.0.0.1", port, CollectorRegistry()):
            assert (await ask(port, "/livez")).status_code == 200
