"""What many who look at the console share: the same bytes, for no one else, made in short turns."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_support import OneWorker, Serve
from console_support import Browser, new_key
from msgspec.structs import replace
from proc_support import child_pids, command_line
from support import record, submission

from preble.broker.keys import job_prefix
from preble.broker.lists import JobQuery
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.clock import ManualClock
from preble.config import Settings
from preble.messages import JobId, JobState, JobView
from preble_api.console.job_pages import row_of
from preble_api.console.pace import TURN_S
from preble_api.console.render import Renderer

pytestmark = pytest.mark.anyio

OPERATOR = "the-operators-key"
PANELS = ("/ui/jobs/rows", "/ui/latency/panel", "/ui/batches/rows")


@pytest.fixture
def keys() -> MemoryApiKeys:
    return MemoryApiKeys()


@pytest.fixture
async def browser(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, keys: MemoryApiKeys,
    tmp_path: Path,
) -> AsyncIterator[Browser]:  # fmt: skip
    settings = replace(settings, api_key=OPERATOR, files_dir=str(tmp_path))
    async with serve(settings, memory_broker, keys) as client:
        browser = Browser(client)
        await browser.log_in(OPERATOR)
        yield browser


async def completed(broker: MemoryBroker, *tenants: str) -> dict[str, JobId]:
    """A job of each tenant."""
    made = [submission(job_prefix("default") + tenant, tenant=tenant) for tenant in tenants]
    assert await broker.admit([made]) == [None]
    worker = OneWorker(broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    return {each.spec.tenant: each.job_id for each in made}


async def test_tenants_that_look_at_once_are_told_their_own_alone(
    browser: Browser, memory_broker: MemoryBroker, keys: MemoryApiKeys
) -> None:
    """Both look again while what the other was told is remembered."""
    jobs = await completed(memory_broker, "acme", "globex")
    tenants = {tenant: Browser(browser.client) for tenant in jobs}
    for tenant, each in tenants.items():
        await each.log_in(await new_key(keys, tenant))
    for _ in range(2):
        for tenant, each in tenants.items():
            listed = (await each.get("/ui/jobs/rows")).text
            assert [name for name, job in jobs.items() if job in listed] == [tenant]
            assert "Heat map of 1 jobs" in (await each.get("/ui/latency/panel")).text
    whole = (await browser.get("/ui/jobs/rows")).text
    assert all(job in whole for job in jobs.values())
    assert "Heat map of 2 jobs" in (await browser.get("/ui/latency/panel")).text


async def test_what_is_shared_names_nobody_who_looks(
    browser: Browser, memory_broker: MemoryBroker, keys: MemoryApiKeys
) -> None:
    """The operator and a key of all tenants are sent the same: nothing in it is of either."""
    await completed(memory_broker, "acme")
    reader = Browser(browser.client)
    await reader.log_in(await new_key(keys, None, "read"))
    for path in PANELS:
        told = [await each.get(path) for each in (browser, reader)]
        assert told[0].text == told[1].text
        assert not any("set-cookie" in each.headers for each in told)
        assert "all tenants" not in told[0].text


async def test_after_draining_the_fleet_is_looked_at_anew_at_once(
    browser: Browser, memory_broker: MemoryBroker
) -> None:
    await memory_broker.register(record(), lease_s=60)
    assert "drained" not in (await browser.get("/ui/fleet/panel")).text
    await browser.post("/ui/fleet/gpu0/drain")
    assert "drained" in (await browser.get("/ui/fleet/panel")).text


async def test_panels_are_answered_and_counted_as_any_route(browser: Browser) -> None:
    await browser.get("/ui/jobs/rows")
    assert (await browser.post("/ui/jobs/rows")).status_code == 405
    head = await browser.client.head("/ui/login")
    assert (head.status_code, head.content) == (200, b"")
    metrics = await browser.client.get("/metrics", headers={"authorization": f"Bearer {OPERATOR}"})
    told = 'preble_http_requests_total{method="GET",route="/ui/jobs/rows",status="200"} 1.0'
    assert told in metrics.text


class Hurried(ManualClock):
    """A clock by which each look at it takes as long as a turn."""

    def now_s(self) -> float:
        self.advance(TURN_S)
        return super().now_s()


async def test_a_long_table_lets_others_go_between_its_rows() -> None:
    """Else the api would answer nobody meanwhile."""
    rows = [row_of(JobView(JobId(f"j{n}"), JobState.WAITING, SPEC, 1, 0.0)) for n in range(100)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(others())
    made = await Renderer("default", Hurried()).fragment(
        "job_rows", rows=rows, query=JobQuery(), older=""
    )
    beside.cancel()
    assert turns > len(rows) / 10
    assert made.html.count("<tr>") == 1 + len(rows)
    assert made.body == made.html.encode()


async def test_a_reading_of_the_tree_that_goes_on_ends_with_the_api(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker
) -> None:
    async with serve(settings, memory_broker) as client:
        assert "are being read" in (await client.get("/ui/prefixes")).text
        await asyncio.sleep(0)
        [reading] = _readings()
        assert os.getpriority(os.PRIO_PROCESS, reading) == 19
    assert _readings() == []


def _readings() -> list[int]:
    return [pid for pid in child_pids(os.getpid()) if "cache\0tree" in command_line(pid)]


SPEC = submission("j").spec
