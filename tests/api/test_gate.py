"""Who comes in: open mode and its end, the operator's key, keys of tenants, strange headers."""

import asyncio
import logging
from collections.abc import Collection

import httpx2
import pytest
from api_support import Serve
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from preble.broker.api_keys import ApiKey
from preble.broker.api_keys import Scope as KeyScope
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.clock import ManualClock
from preble.config import Settings
from preble.errors import BrokerUnavailable, InvariantError
from preble_api.console.sessions import Sessions
from preble_api.errors import HttpError
from preble_api.gate import Gate
from preble_api.keyring import FOUND_S, Keyring
from preble_api.open_mode import OPEN_WARNING, Openness
from preble_api.principal import ANYONE, Principal, principal_of

pytestmark = pytest.mark.anyio

ADMIN_KEY = "the-operator's"
GUARDED = "/v1/jobs"


class AwayKeys(MemoryApiKeys):
    """May be away."""

    is_away = False

    async def are_there(self) -> bool:
        self._require_there()
        return await super().are_there()

    async def find(self, digest: str) -> ApiKey | None:
        self._require_there()
        return await super().find(digest)

    def _require_there(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("redis is gone")


class Door:
    """A gate before an application that tells who came in."""

    def __init__(self, *, admin_key: str = "", may_be_open: bool = False) -> None:
        self.clock = ManualClock()
        self.keys = AwayKeys(self.clock)
        self.openness = Openness(self.keys, self.clock, may_be_open=may_be_open)
        self.came_in: list[Principal] = []
        keyring = Keyring(self.keys, self.clock)
        self.gate = Gate(
            self._note, admin_key=admin_key, keyring=keyring, openness=self.openness,
            sessions=Sessions(admin_key),
        )  # fmt: skip

    async def _note(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        self.came_in.append(principal_of(scope))

    async def key(
        self, tenant: str | None = "acme", scopes: Collection[KeyScope] = ("submit", "read")
    ) -> bytes:
        key, _ = await self.keys.create("n", tenant=tenant, scopes=scopes, life_s=None)
        return key.encode()

    async def ask(self, *credentials: bytes, method: str = "GET") -> Principal | int:
        """Who came in with these headers, or the status of the refusal."""
        headers = [(b"host", b"a")] + [(b"authorization", each) for each in credentials]
        scope = {"type": "http", "method": method, "path": GUARDED, "headers": headers}
        try:
            await self.gate(scope, _nothing, _never)
        except HttpError as error:
            return error.status.value
        return self.came_in[-1]


async def _nothing() -> Message:
    return {"type": "http.request"}


async def _never(message: Message) -> None:
    raise AssertionError(message)


async def test_key_acts_for_its_tenant_with_its_scopes() -> None:
    door = Door()
    key = await door.key("acme", ["read"])
    assert await door.ask(b"Bearer " + key) == Principal("acme", frozenset({"read"}))
    assert await door.ask(b"bearer  " + key + b" ") == Principal("acme", frozenset({"read"}))


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [(["read"], {"GET", "HEAD"}), (["submit"], {"POST", "DELETE", "PUT", "BREW"}),
     (["admin"], {"GET", "HEAD", "POST", "DELETE", "PUT", "BREW"})],
)  # fmt: skip
async def test_every_route_asks_for_a_scope_by_its_method(
    scopes: list[KeyScope], allowed: set[str]
) -> None:
    door = Door()
    credentials = b"Bearer " + await door.key(None, scopes)
    for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "BREW"):
        is_refused = await door.ask(credentials, method=method) == 403
        assert is_refused == (method not in allowed)


async def test_operators_key_needs_no_redis() -> None:
    door = Door(admin_key=ADMIN_KEY)
    door.keys.is_away = True
    assert await door.ask(f"Bearer {ADMIN_KEY}".encode()) == ANYONE


@pytest.mark.parametrize(
    "wrong", [b"", b"Bearer", b"Bearer ", b"Basic x", b"the-operator's", b"Bearer the-operator'",
              b"Bearer the-operator's.", b"Bearer pk_" + b"a" * 43, b"Bearer \xff\xfe", b"\x00"],
)  # fmt: skip
async def test_all_else_is_refused(wrong: bytes) -> None:
    door = Door(admin_key=ADMIN_KEY)
    assert await door.ask(wrong) == 401
    assert await door.ask() == 401


async def test_two_keys_in_one_request_are_refused_even_if_each_is_right() -> None:
    door = Door(admin_key=ADMIN_KEY)
    right = b"Bearer " + await door.key()
    assert await door.ask(right, right) == 401
    assert await door.ask(right, f"Bearer {ADMIN_KEY}".encode()) == 401
    assert await door.ask(b"", right) == 401
    assert await door.ask(b"Bearer a, " + right) == 401


async def test_open_api_closes_when_the_first_key_is_made_and_stays_closed() -> None:
    door = Door(may_be_open=True)
    await door.openness.begin()
    assert await door.ask() == ANYONE
    assert await door.ask(b"Bearer whatever", b"twice") == ANYONE  # clients send something
    await door.key()
    door.clock.advance(FOUND_S)
    assert await door.ask() == 401
    [key] = await door.keys.list_keys()
    await door.keys.revoke(key.id)
    door.clock.advance(2 * FOUND_S)
    assert await door.ask() == 401


async def test_first_key_counts_from_its_first_request() -> None:
    door = Door(may_be_open=True)
    await door.openness.begin()
    assert await door.ask() == ANYONE
    assert await door.ask(b"Bearer " + await door.key("acme", ["read"])) != ANYONE
    assert await door.ask() == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8000"}, 200), ({"host": "127.0.0.1:8000"}, 200),
        ({"host": "[::1]:8000"}, 200), ({"host": "preble"}, 200), ({"host": "a.localhost"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "localhost:1", "origin": "https://ours.example.com"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ({"host": "localhost:1", "origin": "https://evil.example.com"}, 403),
        ({"host": "localhost:1", "origin": "null"}, 403),
        ({"host": "rebound.example.com", "origin": "http://rebound.example.com"}, 403),
        ({"host": "rebound.example.com:8000"}, 403), ({"host": "127.0.0.1.example.com"}, 403),
        ({"host": "[::1"}, 200), ({"host": "["}, 200),
    ],
)  # fmt: skip
async def test_open_api_answers_no_page_of_another_site(
    serve: Serve, memory_broker: MemoryBroker, headers: dict[str, str], status: int
) -> None:
    settings = Settings(cors_origins="https://ours.example.com")
    async with serve(settings, memory_broker) as client:
        assert (await client.get(GUARDED, headers=headers)).status_code == status
        assert (await client.get("/livez", headers=headers)).status_code == 200
    async with serve(Settings(api_key="k"), memory_broker) as client:
        keyed = headers | {"authorization": "Bearer k"}  # a page has none
        assert (await client.get(GUARDED, headers=keyed)).status_code == 200


async def test_api_that_may_not_be_open_is_closed_without_any_key() -> None:
    door = Door(may_be_open=False)
    await door.openness.begin()
    assert await door.ask() == 401


async def test_api_that_has_not_looked_yet_is_closed() -> None:
    door = Door(may_be_open=True)
    assert await door.ask() == 401
    door.keys.is_away = True
    with pytest.raises(BrokerUnavailable):
        await door.openness.begin()
    assert await door.ask() == 401


async def test_redis_that_goes_away_changes_nothing() -> None:
    door = Door(may_be_open=True)
    await door.openness.begin()
    door.keys.is_away = True
    door.clock.advance(FOUND_S)
    assert await door.ask() == ANYONE
    await door.key()
    door.keys.is_away = False
    door.clock.advance(FOUND_S)
    assert await door.ask() == 401


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"x", b"host"]),
            st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(b"Bearer ".__add__)),
        ),
        max_size=4,
    )
)
def test_no_headers_at_all_are_a_bug(headers: list[tuple[bytes, bytes]]) -> None:
    async def refused() -> int:
        door = Door(admin_key=ADMIN_KEY)
        scope = {"type": "http", "method": "GET", "path": GUARDED, "headers": headers}
        with pytest.raises(HttpError) as error:
            await door.gate(scope, _nothing, _never)
        return error.value.status.value

    assert asyncio.run(refused()) == 401


def test_route_that_no_gate_guards_is_a_bug() -> None:
    with pytest.raises(InvariantError):
        principal_of({"type": "http"})


async def test_open_mode_warns_once(
    serve: Serve, memory_broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "preble_api.open_mode"):
        async with serve(Settings(), memory_broker) as client:
            assert (await client.get("/metrics")).status_code == 200
        assert [each.getMessage() for each in caplog.records] == [OPEN_WARNING]
        caplog.clear()
        async with serve(Settings(auth="keys"), memory_broker) as client:
            assert (await client.get("/metrics")).status_code == 401
        assert not caplog.records


async def test_refusals_say_what_to_do_and_repeat_no_key(
    serve: Serve, memory_broker: MemoryBroker
) -> None:
    async with serve(Settings(auth="keys"), memory_broker) as client:
        given_key = "pk_" + "A" * 43
        reply = await client.get(GUARDED, headers={"authorization": f"Bearer {given_key}"})
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert "revoked" in reply.json()["error"]["message"]
        assert given_key not in reply.text
        reply = await client.get(GUARDED)
        assert "Authorization: Bearer" in reply.json()["error"]["message"]


async def test_metrics_are_for_who_reads_all_tenants(
    serve: Serve, memory_broker: MemoryBroker
) -> None:
    keys = MemoryApiKeys()

    async def status(tenant: str | None, scopes: Collection[KeyScope]) -> int:
        key, _ = await keys.create("n", tenant=tenant, scopes=scopes, life_s=None)
        reply = await client.get("/metrics", headers={"authorization": f"Bearer {key}"})
        return reply.status_code

    async with serve(Settings(auth="keys"), memory_broker, keys) as client:
        assert await status(None, ["read"]) == 200
        assert await status(None, ["admin"]) == 200
        assert await status(None, ["submit"]) == 403
        assert await status("acme", ["submit", "read"]) == 403


async def test_pages_of_named_origins_may_ask_and_read_errors(
    serve: Serve, memory_broker: MemoryBroker
) -> None:
    ours, other = "https://app.example.com", "https://evil.example.com"
    settings = Settings(cors_origins=f"{ours}, http://localhost:3000", api_key="k")

    async def allowed(origin: str, method: str) -> tuple[int, str | None]:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        reply: httpx2.Response = await client.request(method, GUARDED, headers=headers)
        return reply.status_code, reply.headers.get("access-control-allow-origin")

    async with serve(settings, memory_broker) as client:
        assert await allowed(ours, "OPTIONS") == (200, ours)
        assert await allowed(ours, "GET") == (401, ours)
        assert await allowed(other, "OPTIONS") == (400, None)
        assert await allowed(other, "GET") == (401, None)
    async with serve(Settings(api_key="k"), memory_broker) as client:
        assert await allowed(ours, "GET") == (401, None)
