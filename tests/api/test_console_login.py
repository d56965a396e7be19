"""The console's login: a key opens it for a while, and only to pages of this host."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from api_support import Serve
from console_support import Browser, new_key
from msgspec.structs import replace

from preble.broker.api_keys import digest_of
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.clock import ManualClock
from preble.config import Settings
from preble_api.console.sessions import COOKIE, SESSION_S, Sessions
from preble_api.keyring import FOUND_S

pytestmark = pytest.mark.anyio

OPERATOR = "the-operators-key"


@pytest.fixture
def keys() -> MemoryApiKeys:
    return MemoryApiKeys()


@pytest.fixture
async def browser(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, keys: MemoryApiKeys
) -> AsyncIterator[Browser]:
    async with serve(replace(settings, api_key=OPERATOR), memory_broker, keys) as client:
        yield Browser(client)


async def test_who_has_not_logged_in_is_led_to_the_login_and_back(browser: Browser) -> None:
    refused = await browser.get("/ui/jobs?status=failed")
    assert refused.status_code == 303
    assert refused.headers["location"] == "/ui/login?next=/ui/jobs%3Fstatus%3Dfailed"
    page = await browser.get(refused.headers["location"])
    assert page.status_code == 200
    assert 'value="/ui/jobs?status=failed"' in page.text
    entered = await browser.log_in(OPERATOR, "/ui/jobs?status=failed")
    assert (entered.status_code, entered.headers["location"]) == (303, "/ui/jobs?status=failed")
    assert (await browser.get("/ui/jobs?status=failed")).status_code == 200


async def test_a_cookie_is_kept_from_scripts_and_from_other_sites(browser: Browser) -> None:
    cookie = (await browser.log_in(OPERATOR)).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/ui"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert OPERATOR not in cookie


async def test_under_https_a_cookie_is_secure(browser: Browser) -> None:
    reply = await browser.post("/ui/login", [("key", OPERATOR)], origin="https://preble")
    assert "Secure" in reply.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("key", ["", "wrong", "pk_" + "x" * 43])
async def test_a_wrong_key_opens_nothing(browser: Browser, key: str) -> None:
    reply = await browser.log_in(key)
    assert reply.status_code == 403
    assert "set-cookie" not in reply.headers
    assert "not known here" in reply.text


@pytest.mark.parametrize("after", ["https://evil.example", "//evil.example", "/v1/jobs", "/ui\\@e"])
async def test_a_login_leads_nowhere_else(browser: Browser, after: str) -> None:
    reply = await browser.log_in(OPERATOR, after)
    assert reply.headers["location"] == "/ui"


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://preble.evil.net"])
@pytest.mark.parametrize("path", ["/ui/login", "/ui/logout", "/ui/fleet/gpu0/drain"])
async def test_a_form_of_another_site_is_refused(
    browser: Browser, path: str, origin: str | None
) -> None:
    await browser.log_in(OPERATOR)
    reply = await browser.post(path, [("key", OPERATOR)], origin=origin)
    assert reply.status_code == 403
    assert "set-cookie" not in reply.headers


async def test_a_large_form_is_refused(browser: Browser) -> None:
    reply = await browser.post("/ui/login", [("key", "x" * 5_000)])
    assert reply.status_code == 413


async def test_who_leaves_is_not_known_any_more(browser: Browser) -> None:
    await browser.log_in(OPERATOR)
    left = await browser.post("/ui/logout")
    assert left.headers["location"] == "/ui/login"
    assert (await browser.get("/ui/jobs")).status_code == 303


async def test_who_may_only_read_can_leave(browser: Browser, keys: MemoryApiKeys) -> None:
    await browser.log_in(await new_key(keys, "acme", "read"))
    assert (await browser.post("/ui/logout")).status_code == 303


async def test_a_revoked_key_ends_its_sessions(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(100.0)
    monkeypatch.setattr("preble_api.app.SystemClock", lambda: clock)
    keys = MemoryApiKeys(clock)
    async with serve(replace(settings, auth="keys"), memory_broker, keys) as client:
        browser, key = Browser(client), await new_key(keys, "acme")
        await browser.log_in(key)
        assert (await browser.get("/ui/jobs")).status_code == 200
        [record] = await keys.list_keys()
        await keys.revoke(record.id)
        clock.advance(FOUND_S)
        assert (await browser.get("/ui/jobs")).status_code == 303


async def test_the_cookie_opens_the_console_alone(browser: Browser) -> None:
    await browser.log_in(OPERATOR)
    assert (await browser.get("/v1/jobs")).status_code == 401
    assert (await browser.get("/metrics")).status_code == 401


async def test_a_fragment_leads_the_whole_page_to_the_login(browser: Browser) -> None:
    reply = await browser.get("/ui/fleet/panel", **{"hx-request": "true"})
    assert (reply.status_code, reply.headers["hx-redirect"]) == (401, "/ui/login")


async def test_an_open_api_wants_no_login(client: httpx2.AsyncClient) -> None:
    page = await client.get("/ui/fleet")
    assert page.status_code == 200
    assert "Log out" not in page.text


async def test_without_the_setting_there_is_no_console(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker
) -> None:
    async with serve(replace(settings, console=False), memory_broker) as client:
        for path in ("/ui", "/ui/login", "/ui/static/console.css"):
            assert (await client.get(path)).status_code == 404


async def test_where_there_is_no_console_its_cookies_count_for_nothing(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker
) -> None:
    settings = replace(settings, api_key=OPERATOR, console=False)
    cookie = Sessions(OPERATOR).begin(digest_of(OPERATOR.encode()), is_https=False)
    async with serve(settings, memory_broker) as client:
        reply = await client.get("/ui/jobs", headers={"cookie": cookie.partition(";")[0]})
    assert reply.status_code == 401


class Signed:
    """Sessions by a clock of the test's."""

    def __init__(self, admin_key: str = OPERATOR) -> None:
        self.now_s = 1_000.0
        self.sessions = Sessions(admin_key, lambda: self.now_s)

    def digest_in(self, cookie: str) -> str | None:
        value = cookie.partition(";")[0].encode()
        return self.sessions.digest_in({"type": "http", "headers": [(b"cookie", value)]})


def test_a_session_ends_by_itself() -> None:
    signed = Signed()
    cookie = signed.sessions.begin("ab12", is_https=False)
    assert signed.digest_in(cookie) == "ab12"
    signed.now_s += SESSION_S
    assert signed.digest_in(cookie) is None


def test_a_session_counts_at_each_api_with_the_same_key_and_nowhere_else() -> None:
    cookie = Signed().sessions.begin("ab12", is_https=False)
    assert Signed().digest_in(cookie) == "ab12"
    assert Signed("another").digest_in(cookie) is None
    assert Signed("").digest_in(cookie) is None


@pytest.mark.parametrize(
    "change", [("ab12", "cd34"), (".44200", ".99999"), ("=", "=x"), ("ab12.", "")]
)
def test_a_changed_cookie_counts_for_nothing(change: tuple[str, str]) -> None:
    signed = Signed()
    cookie = signed.sessions.begin("ab12", is_https=False)
    assert signed.digest_in(cookie.replace(*change, 1)) is None
    assert signed.digest_in(f"{COOKIE}=") is None
