"""The console's pages: what each shows, to whom, and that nothing in it is taken for HTML."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from api_support import DownBroker, OneWorker, Serve
from console_support import Browser, new_key
from msgspec.structs import replace
from support import record, submission

from preble.broker.keys import job_prefix
from preble.broker.lists import JobPage, JobQuery
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.broker.memory_counts import MemoryCounts
from preble.config import Settings
from preble.messages import InstanceReport, JobFailure, JobId, PoolStats
from preble_api.console.door import CONTENT_SECURITY_POLICY

pytestmark = pytest.mark.anyio

HOSTILE = '<script>alert("1")</script>'
PAGES = ("/ui/fleet", "/ui/prefixes", "/ui/jobs", "/ui/batches", "/ui/latency", "/ui/dead")
OPERATOR = "the-operators-key"


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


async def admitted(broker: MemoryBroker, name: str, tenant: str = "acme") -> JobId:
    made = submission(job_prefix("default") + name, tenant=tenant)
    assert await broker.admit([[made]]) == [None]
    return made.job_id


async def test_each_page_is_whole_and_says_where_one_is(browser: Browser) -> None:
    for path in PAGES:
        page = await browser.get(path)
        assert page.status_code == 200, page.text
        assert page.text.count("<h1") == page.text.count('aria-current="page"') == 1
        assert '<html lang="en">' in page.text


async def test_every_answer_keeps_to_itself(browser: Browser) -> None:
    for path in (*PAGES, "/ui/login", "/ui/jobs/nobody", "/ui/static/console.css", "/ui"):
        headers = (await browser.get(path)).headers
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


async def test_no_page_has_a_script_or_style_in_it_or_takes_anything_from_elsewhere(
    browser: Browser, memory_broker: MemoryBroker
) -> None:
    job_id = await admitted(memory_broker, "j1")
    for path in (*PAGES, "/ui/login", f"/ui/jobs/{job_id}"):
        text = (await browser.get(path)).text
        assert not re.search(
            r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", text
        )
        sources = re.findall(r'(?:src|href|action|hx-get)="([^"]*)"', text)
        assert [each for each in sources if not each.startswith(("/ui", "#main"))] == []


async def test_static_files_are_kept_by_the_browser_and_lead_nowhere_else(browser: Browser) -> None:
    for name, kind in (("htmx.min.js", "text/javascript"), ("console.css", "text/css")):
        reply = await browser.get(f"/ui/static/{name}")
        assert reply.headers["content-type"].startswith(kind)
        assert "immutable" in reply.headers["cache-control"]
    for name in ("nothing.js", "..%2Flogin.py", "../login.py", "%2e%2e/login.py"):
        assert (await browser.get(f"/ui/static/{name}")).status_code in {303, 404}


async def test_the_openapi_does_not_have_it(client: httpx2.AsyncClient) -> None:
    assert "/ui" not in (await client.get("/openapi.json")).text


async def test_the_fleet_is_shown_and_drained(
    browser: Browser, memory_broker: MemoryBroker
) -> None:
    await memory_broker.register(record(), lease_s=60)
    report = InstanceReport(kv_used_tokens=2_500, prompt_tokens=100, hit_tokens=75)
    await memory_broker.renew(record(), [], lease_s=60, report=report)
    page = await browser.get("/ui/fleet")
    for told in ("gpu0", "ready", "25%", "75%"):
        assert told in page.text
    done = await browser.post("/ui/fleet/gpu0/drain")
    assert done.status_code == 303
    page = await browser.get(done.headers["location"])
    assert "gpu0 gets no more jobs" in page.text
    assert "drained" in page.text
    await browser.post("/ui/fleet/gpu0/resume")
    assert "ready" in (await browser.get("/ui/fleet/panel")).text
    assert (await browser.post("/ui/fleet/gpu9/drain")).status_code == 404


async def test_a_job_is_found_and_shown_with_its_decision(
    browser: Browser, memory_broker: MemoryBroker
) -> None:
    job_id = await admitted(memory_broker, "j1")
    waiting = (await browser.get(f"/ui/jobs/{job_id}")).text
    assert "no instance is registered" in waiting
    assert "Cancel" in waiting
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    found = await browser.get(f"/ui/jobs?id={job_id}")
    assert (found.status_code, found.headers["location"]) == (303, f"/ui/jobs/{job_id}")
    page = (await browser.get(found.headers["location"])).text
    for told in ("Decision", "exploit", "first token", "assigned", "completed", "delivered"):
        assert told in page
    assert "hx-trigger" not in page
    assert "no id of a job" in (await browser.get("/ui/jobs?id=a%20b")).text
    assert (await browser.get("/ui/jobs/nobody")).status_code == 404


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_outputs_are_shown_only_where_that_is_allowed(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, *, is_allowed: bool
) -> None:
    async with serve(replace(settings, console_text=is_allowed), memory_broker) as client:
        job_id = await admitted(memory_broker, "j1")
        worker = OneWorker(memory_broker)
        await worker.assign_all()
        await worker.run_all()
        await worker.complete_all()
        page = (await client.get(f"/ui/jobs/{job_id}")).text
    assert (">answer</pre>" in page) is is_allowed
    assert ("Text is hidden" in page) is not is_allowed


async def test_nothing_that_comes_from_outside_is_taken_for_html(
    browser: Browser, memory_broker: MemoryBroker
) -> None:
    await memory_broker.register(
        replace(record(), engine=HOSTILE, version=HOSTILE), lease_s=60
    )  # fmt: skip
    job_id = await admitted(memory_broker, "j1")
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.fail_all(JobFailure(HOSTILE, HOSTILE))
    for path in (
        "/ui/fleet", "/ui/jobs", f"/ui/jobs/{job_id}", "/ui/dead", f"/ui/jobs?id={HOSTILE}",
        f"/ui/jobs?tenant={HOSTILE}", f"/ui/login?next={HOSTILE}", f"/ui/jobs/{HOSTILE}",
        f"/ui/fleet?did=drain&instance={HOSTILE}", f"/ui/prefixes?instance={HOSTILE}",
        f"/ui/dead?retried={HOSTILE}", f"/ui/latency?measure={HOSTILE}",
    ):  # fmt: skip
        page = await browser.get(path)
        assert HOSTILE not in page.text, path
        assert "alert(" not in page.text.replace("&lt;script&gt;alert(", ""), path


async def test_failed_jobs_run_again(browser: Browser, memory_broker: MemoryBroker) -> None:
    job_ids = [await admitted(memory_broker, name) for name in ("j1", "j2")]
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.fail_all(JobFailure("engine_refused", "it was too long"))
    page = (await browser.get("/ui/dead")).text
    assert page.count("engine_refused") == 2
    done = await browser.post("/ui/dead/jobs", [("id", job_id) for job_id in job_ids])
    assert "2 wait again" in (await browser.get(done.headers["location"])).text
    views = await memory_broker.views(job_ids)
    assert [view and view.state for view in views] == ["waiting"] * 2
    again = await browser.post("/ui/dead/jobs", [("id", job_ids[0])])
    assert "1 wait again" in (await browser.get(again.headers["location"])).text


async def test_one_failed_job_runs_again_from_its_page(
    browser: Browser, memory_broker: MemoryBroker
) -> None:
    job_id = await admitted(memory_broker, "j1")
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.fail_all(JobFailure("engine_refused", "it was too long"))
    assert "Run again" in (await browser.get(f"/ui/jobs/{job_id}")).text
    done = await browser.post(f"/ui/jobs/{job_id}/retry")
    assert "waits again" in (await browser.get(done.headers["location"])).text
    cancelled = await browser.post(f"/ui/jobs/{job_id}/cancel")
    assert "cancelled" in (await browser.get(cancelled.headers["location"])).text
    assert (await browser.post(f"/ui/jobs/{job_id}/retry")).status_code == 409


async def test_lists_are_filtered_and_paged(browser: Browser, memory_broker: MemoryBroker) -> None:
    for number in range(60):
        await admitted(memory_broker, f"j{number:02}", "acme" if number % 2 else "globex")
    first = (await browser.get("/ui/jobs")).text
    assert ("j59" in first, "j00" in first) == (True, False)
    [older] = re.findall(r'href="(/ui/jobs\?[^"]*after[^"]*)"', first)
    second = (await browser.get(older.replace("&amp;", "&"))).text
    assert ("j59" in second, "j00" in second) == (False, True)
    acme = (await browser.get("/ui/jobs?tenant=acme&status=waiting")).text
    assert ("j59" in acme, "j58" in acme) == (True, False)
    assert (await browser.get("/ui/jobs?status=nonsense")).status_code == 400


async def test_a_tenant_sees_its_own_alone(
    browser: Browser, memory_broker: MemoryBroker, keys: MemoryApiKeys
) -> None:
    await memory_broker.register(record(), lease_s=60)
    own = await admitted(memory_broker, "j-own", "acme")
    other = await admitted(memory_broker, "j-other", "globex")
    await browser.log_in(await new_key(keys, "acme"))
    assert (await browser.get("/ui")).headers["location"] == "/ui/jobs"
    listed = (await browser.get("/ui/jobs")).text
    assert (own in listed, other in listed, "Fleet" in listed) == (True, False, False)
    assert (await browser.get(f"/ui/jobs/{own}")).status_code == 200
    unknown = {(await browser.get(f"/ui/jobs/{each}")).text for each in (other, "j-nobody")}
    assert len(unknown) == 1
    for path in ("/ui/fleet", "/ui/fleet/panel", "/ui/prefixes", "/ui/jobs?tenant=globex"):
        assert (await browser.get(path)).status_code == 403
    for path in ("/ui/fleet/gpu0/drain", "/ui/fleet/gpu0/resume", "/ui/dead/webhooks"):
        assert (await browser.post(path)).status_code == 403
    for path in (f"/ui/jobs/{other}/cancel", f"/ui/jobs/{other}/retry"):
        assert (await browser.post(path)).status_code == 404
    assert (await browser.post("/ui/dead/jobs", [("id", own), ("id", other)])).status_code == 404
    for path in ("/ui/dead", "/ui/latency", "/ui/batches"):
        page = await browser.get(path)
        assert (page.status_code, other in page.text) == (200, False)
    assert (await memory_broker.roster.views())[0].state == "ready"


async def test_who_may_only_read_is_shown_no_buttons_and_may_press_none(
    browser: Browser, memory_broker: MemoryBroker, keys: MemoryApiKeys
) -> None:
    job_id = await admitted(memory_broker, "j1")
    await browser.log_in(await new_key(keys, "acme", "read"))
    assert "Cancel" not in (await browser.get(f"/ui/jobs/{job_id}")).text
    assert (await browser.post(f"/ui/jobs/{job_id}/cancel")).status_code == 403


async def test_a_key_of_all_tenants_that_is_no_admins_sees_no_fleet(
    browser: Browser, keys: MemoryApiKeys
) -> None:
    await browser.log_in(await new_key(keys, None))
    assert (await browser.get("/ui/fleet")).status_code == 403
    assert (await browser.get("/ui/jobs")).status_code == 200


async def test_without_jobs_there_is_no_heat_map(browser: Browser) -> None:
    assert "No jobs have completed lately" in (await browser.get("/ui/latency")).text


async def test_how_long_jobs_took_is_drawn(browser: Browser, memory_broker: MemoryBroker) -> None:
    await admitted(memory_broker, "j1")
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    page = (await browser.get("/ui/latency?measure=queued")).text
    assert "Heat map of 1 jobs" in page


async def test_while_the_queue_is_away_a_page_says_so(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker(max_jobs=1)) as client:
        job = f"/ui/jobs/{job_prefix('default')}j1"
        for path in ("/ui/fleet", "/ui/jobs", job, "/ui/latency", "/ui/dead"):
            page = await client.get(path)
            assert page.status_code == 503
            assert "the queue cannot be reached" in page.text
            assert page.headers["content-type"].startswith("text/html")


async def test_batches_are_listed_and_shown(browser: Browser, keys: MemoryApiKeys) -> None:
    line = (
        '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": '
        '"preble-emulated", "messages": [{"role": "user", "content": "a"}]}}\n'
    )
    owner = {"authorization": f"Bearer {await new_key(keys, 'acme')}"}
    file = {"file": ("in.jsonl", line.encode(), "application/jsonl")}
    made = await browser.client.post(
        "/v1/files", data={"purpose": "batch"}, files=file, headers=owner
    )
    body = {
        "input_file_id": made.json()["id"], "endpoint": "/v1/chat/completions",
        "completion_window": "24h", "metadata": {"owner": HOSTILE},
    }  # fmt: skip
    batch = (await browser.client.post("/v1/batches", json=body, headers=owner)).json()["id"]
    assert batch in (await browser.get("/ui/batches")).text
    page = await browser.get(f"/ui/batches/{batch}")
    assert page.status_code == 200
    assert HOSTILE not in page.text
    done = await browser.post(f"/ui/batches/{batch}/cancel")
    assert "was asked to end" in (await browser.get(done.headers["location"])).text
    await browser.log_in(await new_key(keys, "globex"))
    assert batch not in (await browser.get("/ui/batches")).text
    assert (await browser.get(f"/ui/batches/{batch}")).status_code == 404
    assert (await browser.post(f"/ui/batches/{batch}/cancel")).status_code == 404


async def test_many_who_look_at_once_cost_one_look(serve: Serve, settings: Settings) -> None:
    broker = Seen()
    async with serve(settings, broker) as client:
        for _ in range(30):
            assert (await client.get("/ui/fleet/panel")).status_code == 200
            assert (await client.get("/ui/jobs/rows")).status_code == 200
    # A second may pass meanwhile.
    assert broker.looks <= 6


class SeenCounts(MemoryCounts):
    """Counts that know how often they were asked for."""

    looks = 0

    async def stats(self) -> PoolStats:
        self.looks += 1
        return await super().stats()


class Seen(MemoryBroker):
    """A queue that knows how often it was asked."""

    def __init__(self) -> None:
        super().__init__(max_jobs=10)
        self.counts = self.seen_counts = SeenCounts(self._state)
        self.lists = 0

    @property
    def looks(self) -> int:
        return self.lists + self.seen_counts.looks

    async def list_jobs(self, query: JobQuery) -> JobPage:
        self.lists += 1
        return await super().list_jobs(query)
