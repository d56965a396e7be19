"""The console in a real Chromium, on a whole stack: pressed, used by keyboard, judged by axe.

Skipped where there is no Chromium, unless `REQUIRE_CHROMIUM` is set.
"""

import json
import os
import shutil
from collections.abc import Generator, Iterator
from importlib.resources import files
from typing import Any

import httpx2
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    StorageState,
    expect,
    sync_playwright,
)
from support import eventually

from preble.config import Settings
from preble.serve.private import private_stack

CHROMIUM = shutil.which("chromium") or "chromium"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        "REQUIRE_CHROMIUM" not in os.environ and not shutil.which(CHROMIUM),
        reason="there is no chromium",
    ),
]

OPERATOR = "the-operators-key"
KEY = {"authorization": f"Bearer {OPERATOR}"}
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
AXE = (files("axe_core_python") / "axe.min.js").read_text()
SYSTEM = "You answer questions on the history of printing, in one sentence. " * 20
PAGES = ("fleet", "prefixes", "prefixes?instance=gpu0", "jobs", "batches", "latency", "dead")


class House:
    """A stack with jobs of all kinds."""

    def __init__(self, url: str, api: httpx2.Client) -> None:
        self.url = url
        self.api = api
        self.jobs = self.submit([f"{SYSTEM} Question {number}." for number in range(24)])
        self.failed = self.submit(["Tell me everything"] * 2, max_new_tokens=6_000)
        self.batch = self._batch(24)
        eventually(lambda: self.count("completed") >= 24 + 24)
        eventually(lambda: self.count("failed") == 2)

    def submit(self, prompts: list[str], max_new_tokens: int = 4) -> list[str]:
        """Jobs; returns their ids."""
        sampling = {"max_new_tokens": max_new_tokens, "ignore_eos": True}
        jobs = [{"prompt": prompt, "sampling_params": sampling} for prompt in prompts]
        reply = self.api.post("/v1/jobs", json=jobs)
        assert reply.status_code == 202, reply.text
        return [job["id"] for job in reply.json()["data"]]

    def count(self, status: str) -> int:
        """Jobs that stand so, a hundred at most."""
        reply = self.api.get("/v1/jobs", params={"status": status, "limit": 100})
        return len(reply.json()["data"])

    def state(self, job_id: str) -> str:
        """How a job stands."""
        return str(self.api.get(f"/v1/jobs/{job_id}").json()["status"])

    def _batch(self, number: int) -> str:
        body = {"model": "preble-emulated", "messages": [{"role": "user", "content": SYSTEM}],
                "max_tokens": 4}  # fmt: skip
        lines = [
            {"custom_id": str(each), "method": "POST", "url": "/v1/chat/completions", "body": body}
            for each in range(number)
        ]
        content = "\n".join(map(json.dumps, lines)).encode()
        file = {"file": ("in.jsonl", content, "application/jsonl")}
        made = self.api.post("/v1/files", data={"purpose": "batch"}, files=file)
        asked = {"input_file_id": made.json()["id"], "endpoint": "/v1/chat/completions",
                 "completion_window": "24h"}  # fmt: skip
        return str(self.api.post("/v1/batches", json=asked).json()["id"])


@pytest.fixture(scope="module")
def house() -> Generator[House]:
    settings = Settings(
        engine="emulated", workers=2, emulated_speed=10, max_run_s=3, lease_s=2, api_key=OPERATOR,
        context_length=8_192,
    )  # fmt: skip
    with (
        private_stack(settings) as served,
        httpx2.Client(base_url=served.url, headers=KEY, timeout=60) as api,
    ):
        yield House(served.url, api)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))


class Window:
    """A page, and what went wrong in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.url = url
        self.troubles: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(message.text)

    def open(self, path: str) -> Page:
        """Go to a page of the console."""
        self.page.goto(f"{self.url}/ui/{path}", wait_until="load")
        return self.page

    def log_in(self) -> None:
        """Through the form."""
        self.open("")
        self.page.get_by_label("Api key").fill(OPERATOR)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", name="Fleet", level=1)).to_be_visible()


@pytest.fixture(scope="module")
def session(chromium: Browser, house: House) -> StorageState:
    """Of somebody who has logged in."""
    with chromium.new_context() as context:
        Window(context, house.url).log_in()
        return context.storage_state()


@pytest.fixture(params=["light", "dark"])
def themed(
    request: pytest.FixtureRequest, chromium: Browser, house: House, session: StorageState
) -> Iterator[Window]:
    """A window in each theme of the system, with that session."""
    with chromium.new_context(color_scheme=request.param, storage_state=session) as context:
        window = Window(context, house.url)
        yield window
        assert window.troubles == []


@pytest.fixture
def window(chromium: Browser, house: House, session: StorageState) -> Iterator[Window]:
    """A window with that session."""
    with chromium.new_context(storage_state=session) as context:
        window = Window(context, house.url)
        yield window
        assert window.troubles == []


def findings(page: Page) -> list[str]:
    """What axe takes to be serious or critical."""
    page.evaluate(AXE)
    told: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in told["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


def test_every_page_is_drawn_without_errors_and_to_be_used_by_all(
    themed: Window, house: House
) -> None:
    one_each = (f"jobs/{house.jobs[0]}", f"jobs/{house.failed[0]}", f"batches/{house.batch}")
    for path in (*PAGES, *one_each):
        page = themed.open(path)
        assert page.get_by_role("heading", level=1).count() == 1
        if path.startswith("prefixes"):
            page.locator("svg.icicle").first.wait_for()
        assert (path, findings(page)) == (path, [])
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert (path, wider) == (path, 0)


def test_the_login_is_to_be_used_by_all(chromium: Browser, house: House) -> None:
    with chromium.new_context() as context:
        window = Window(context, house.url)
        page = window.open("login")
        assert findings(page) == []
        page.get_by_label("Api key").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("not known here")
        # Of a password that is refused a browser says so, and nothing else went wrong.
        assert [each for each in window.troubles if "403" not in each] == []


def test_charts_are_drawn(window: Window) -> None:
    page = window.open("latency")
    expect(page.locator("#quantile-chart canvas")).to_be_visible()
    assert page.locator("svg.map rect[class^=h]").count() > 0
    page = window.open("fleet")
    expect(page.locator("#jobs-chart canvas")).to_be_visible()


def test_by_keyboard_one_skips_to_the_content_and_goes_through_the_pages(window: Window) -> None:
    page = window.open("fleet")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page = window.open("fleet")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Jobs":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()


def test_a_new_job_appears_by_itself_and_its_page_follows_it(window: Window, house: House) -> None:
    page = window.open("jobs")
    [job_id] = house.submit([f"{SYSTEM} And now?"], max_new_tokens=400)
    expect(page.get_by_role("link", name=job_id)).to_be_visible(timeout=10_000)
    page = window.open(f"jobs/{job_id}")
    expect(page.locator(".head .badge")).to_have_text("completed", timeout=15_000)
    expect(page.locator(".marks")).to_contain_text("first token")
    expect(page.get_by_role("heading", name="Decision")).to_be_visible()


def test_what_is_paused_asks_for_nothing_and_goes_on_after(window: Window, house: House) -> None:
    window.page.clock.install()
    page = window.open("jobs")
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url) if "/rows" in each.url else None)
    live = page.get_by_role("button", name="Live")
    live.click()
    page.clock.run_for(60_000)
    assert asked == []
    [job_id] = house.submit(["paused"])
    live.click()
    page.clock.run_for(3_000)
    expect(page.get_by_role("link", name=job_id)).to_be_visible()


def test_an_instance_is_drained_and_resumed_by_keyboard(window: Window) -> None:
    page = window.open("fleet")
    row = page.get_by_role("row").filter(has_text="gpu1")
    page.locator("#act-gpu1").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("gpu1 gets no more jobs")
    expect(row.locator(".badge")).to_have_text("drained")
    with page.expect_response("**/ui/fleet/panel"):
        page.locator("#act-gpu1").focus()
    # What is under the keyboard stays there, though all around it is replaced.
    expect(page.locator("#act-gpu1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row.locator(".badge")).to_have_text("ready")


def test_failed_jobs_are_run_again(window: Window, house: House) -> None:
    page = window.open("dead")
    expect(page.get_by_role("row")).to_have_count(1 + len(house.failed))
    page.get_by_role("checkbox").first.uncheck()
    page.get_by_role("button", name="Run the chosen ones again").click()
    expect(page.get_by_role("status").first).to_contain_text("1 wait again")
    eventually(lambda: house.count("failed") == 2)


def test_the_theme_is_chosen_and_kept(window: Window) -> None:
    page = window.open("jobs")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    for _ in range(2):
        page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    page = window.open("fleet")
    assert page.evaluate(ground) != light
    expect(page.locator("#theme")).to_have_text("Theme: dark")


def test_without_scripts_the_pages_are_read(chromium: Browser, house: House) -> None:
    with chromium.new_context(java_script_enabled=False) as context:
        window = Window(context, house.url)
        window.log_in()
        for path in ("fleet", "jobs", "latency", "dead", f"jobs/{house.jobs[0]}"):
            page = window.open(path)
            assert page.locator("table").count() > 0
        window.open("fleet").get_by_role("button", name="Log out").click()
        expect(window.page.get_by_role("heading", name="Log in")).to_be_visible()
