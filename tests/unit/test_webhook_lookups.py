"""Names that take long to look up, and whom they hold up."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Final

import pytest

from preble_api.webhooks.lookups import Lookups, LookupsCrowded
from preble_api.webhooks.room import AT_ONCE, AT_ONCE_OF_TENANT

pytestmark = pytest.mark.anyio

FOUND: Final = ["8.8.8.8"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Slow:
    """Names of which those that begin with `slow` wait until they are let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.lookups = Lookups(self._look_up)

    async def begin(self, number: int, tenant: str) -> list[asyncio.Task[Sequence[str]]]:
        """Look up so many slow names; the last of them is on its way."""
        asked = [self.lookups.addresses(f"slow{n}", 443, tenant) for n in range(number)]
        tasks = [asyncio.create_task(each) for each in asked]
        await asyncio.sleep(0)
        return tasks

    def _look_up(self, host: str, port: int) -> Sequence[str]:
        del port
        if host.startswith("slow"):
            self.let_go.wait()
        return FOUND


async def test_slow_names_of_one_tenant_hold_up_nobody_else() -> None:
    slow = Slow()
    tasks = await slow.begin(AT_ONCE_OF_TENANT, "evil")
    try:
        with pytest.raises(LookupsCrowded):
            await slow.lookups.addresses("fast", 443, "evil")
        assert await slow.lookups.addresses("fast", 443, "other") == FOUND
    finally:
        slow.let_go.set()
    assert await asyncio.gather(*tasks) == [FOUND] * AT_ONCE_OF_TENANT
    assert await slow.lookups.addresses("fast", 443, "evil") == FOUND
    slow.lookups.close()


async def test_a_lookup_that_nobody_waits_for_counts_until_it_ends() -> None:
    slow = Slow()
    tasks = await slow.begin(AT_ONCE_OF_TENANT, "evil")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    try:
        with pytest.raises(LookupsCrowded):
            await slow.lookups.addresses("fast", 443, "evil")
    finally:
        slow.let_go.set()
        slow.lookups.close()


async def test_all_tenants_together_have_so_many() -> None:
    slow = Slow()
    tenants = range(AT_ONCE // AT_ONCE_OF_TENANT)
    tasks = [task for n in tenants for task in await slow.begin(AT_ONCE_OF_TENANT, f"t{n}")]
    try:
        with pytest.raises(LookupsCrowded):
            await slow.lookups.addresses("fast", 443, "other")
    finally:
        slow.let_go.set()
    await asyncio.gather(*tasks)
    slow.lookups.close()
