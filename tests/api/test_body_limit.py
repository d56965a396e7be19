"""How many bytes of bodies there may be: of those that are read, and fairly between tenants."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from api_support import Serve
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble_api.limits import SMALL_BYTES, BodyLimit, let_go
from preble_api.principal import ANYONE, set_principal

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
BEGIN, END = b'{"text": "a"', b"}"


def long_body(settings: Settings) -> bytes:
    """Of the greatest size, for one short prompt."""
    return BEGIN + b" " * (settings.max_body_bytes - len(BEGIN + END)) + END


async def admitted(broker: MemoryBroker, jobs: int) -> None:
    async with asyncio.timeout(20):
        while (await broker.counts.stats()).waiting < jobs:  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)


async def test_requests_that_wait_for_their_jobs_hold_no_room(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, settings: Settings
) -> None:
    body = long_body(settings)
    waiting: list[asyncio.Task[httpx2.Response]] = []
    for number in range(1, 8):
        sent = client.post("/generate", content=body, headers=JSON)
        waiting.append(asyncio.create_task(sent))
        await admitted(memory_broker, number)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_body_is_gone_once_its_request_has_let_go_of_it() -> None:
    kept: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del send
        request = Request(scope, receive)
        kept.append(await request.body())
        let_go(request)
        kept.append(await request.body())

    async def receive() -> Message:
        return {"type": "http.request", "body": b"a" * 10}

    async def send(message: Message) -> None:
        del message

    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    set_principal(scope, ANYONE)
    await BodyLimit(app, max_body_bytes=10)(scope, receive, send)
    assert kept == [b"a" * 10, b""]


class Slow:
    """A client whose bodies come but for their ends, until it is told to go on."""

    def __init__(self, client: httpx2.AsyncClient, settings: Settings, key: str) -> None:
        self._client = client
        self._size = settings.max_body_bytes - 100
        self._headers = {**JSON, "authorization": f"Bearer {key}"}
        self._goes_on = asyncio.Event()
        self._sent: list[asyncio.Task[httpx2.Response]] = []

    async def begin(self, bodies: int) -> None:
        """Send the most of each."""
        for _ in range(bodies):
            is_there = asyncio.Event()
            body = self._body(is_there)
            sent = self._client.post("/v1/jobs", content=body, headers=self._headers)
            self._sent.append(asyncio.create_task(sent))
            await is_there.wait()

    async def end(self) -> list[int]:
        """Statuses of the answers."""
        self._goes_on.set()
        return [reply.status_code for reply in await asyncio.gather(*self._sent)]

    async def small(self) -> int:
        """Status of a small request."""
        body = b'{"prompt": "a"}'.ljust(SMALL_BYTES)
        reply = await self._client.post("/v1/jobs", content=body, headers=self._headers)
        return reply.status_code

    async def _body(self, is_there: asyncio.Event) -> AsyncIterator[bytes]:
        yield b" " * self._size
        is_there.set()
        await self._goes_on.wait()
        yield b'{"prompt": "a"}'


async def test_who_sends_slowly_leaves_room_for_others_and_for_what_is_small(
    serve: Serve, memory_broker: MemoryBroker, settings: Settings
) -> None:
    keys = MemoryApiKeys()
    acme, _ = await keys.create("n", tenant="acme", scopes=["submit"], life_s=None)
    bob, _ = await keys.create("n", tenant="bob", scopes=["submit"], life_s=None)
    async with serve(settings, memory_broker, keys) as client:
        slow, other = Slow(client, settings, acme), Slow(client, settings, bob)
        await slow.begin(2)
        refused = await client.post(
            "/v1/jobs", content=b" " * settings.max_body_bytes,
            headers={**JSON, "authorization": f"Bearer {acme}"},
        )  # fmt: skip
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "too_many_bytes"
        assert (await slow.small(), await other.small()) == (202, 202)
        await other.begin(1)
        assert await other.end() == [202]
        assert await slow.end() == [202, 202]
