"""A file's bytes as an answer, how many uploads one tenant may hold, and who waits for the disk."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from api_support import Serve
from batch_support import COMPLETIONS
from msgspec.structs import replace
from starlette.requests import Request
from starlette.types import Message

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble_api.errors import HttpError
from preble_api.files import content
from preble_api.files.layout import Layout
from preble_api.files.store import FileBounds, FileStore, StoredFile
from preble_api.files.uploads import TENANT_UPLOADS, UPLOADS_AT_ONCE, Uploads
from preble_api.principal import Principal

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 4


@pytest.fixture
async def api(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(replace(settings, files_dir=str(tmp_path)), memory_broker) as made:
        yield made


async def put(api: httpx2.AsyncClient, data: bytes = DATA) -> str:
    form, files = {"purpose": "batch"}, {"file": ("in.jsonl", data)}
    return str((await api.post("/v1/files", data=form, files=files)).json()["id"])


async def read(api: httpx2.AsyncClient, file_id: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.get(f"/v1/files/{file_id}/content", headers=named)


@pytest.mark.parametrize(
    ("asked", "expected", "told"),
    [
        ("bytes=0-1", DATA[:2], "bytes 0-1/1024"),
        ("bytes=1000-", DATA[1000:], "bytes 1000-1023/1024"),
        ("bytes=1000-5000", DATA[1000:], "bytes 1000-1023/1024"),
        ("BYTES=-10", DATA[-10:], "bytes 1014-1023/1024"),
        ("bytes=-5000", DATA, "bytes 0-1023/1024"),
    ],
)
async def test_a_range_is_answered(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, asked: str, expected: bytes, told: str
) -> None:
    monkeypatch.setattr(content, "PIECE_BYTES", 100)
    reply = await read(api, await put(api), range=asked)
    assert (reply.status_code, reply.headers["content-range"]) == (206, told)
    assert reply.content == expected
    assert reply.headers["content-length"] == str(len(expected))


@pytest.mark.parametrize(
    "asked",
    ["bytes=5-2", "bytes=abc", "bytes=-", "lines=0-1", "bytes=0-0,2-3", "bytes=" + "1" * 5_000],
)
async def test_what_is_no_single_range_is_ignored(api: httpx2.AsyncClient, asked: str) -> None:
    reply = await read(api, await put(api), range=asked)
    assert (reply.status_code, reply.content) == (200, DATA)
    assert "content-range" not in reply.headers


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=-0", "bytes=999999999999999999-"])
async def test_a_range_beyond_the_end_is_refused_in_the_form_of_all_errors(
    api: httpx2.AsyncClient, asked: str
) -> None:
    reply = await read(api, await put(api), range=asked)
    assert (reply.status_code, reply.headers["content-range"]) == (416, "bytes */1024")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["error"]["code"] == "range_not_satisfiable"


async def test_a_range_is_of_the_file_whose_tag_is_known(api: httpx2.AsyncClient) -> None:
    file_id = await put(api)
    tag = (await read(api, file_id)).headers["etag"]
    assert (await read(api, file_id, range="bytes=0-1", if_range=tag)).content == DATA[:2]
    assert (await read(api, file_id, range="bytes=0-1", if_range='"other"')).content == DATA


async def test_an_empty_file_is_read(api: httpx2.AsyncClient) -> None:
    reply = await read(api, await put(api, b""))
    assert (reply.status_code, reply.content) == (200, b"")


async def test_a_file_deleted_since_it_was_found_is_not_found(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, found = await put(api), FileStore.find

    def finds_and_another_deletes(store: FileStore, tenants: list[str], id_: str) -> StoredFile:
        file = found(store, tenants, id_)
        store.remove(file.tenant, file.content.parent)
        return file

    monkeypatch.setattr(FileStore, "find", finds_and_another_deletes)
    reply = await read(api, file_id)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "file_not_found")


async def test_tenants_are_looked_up_on_threads(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, looked, tenants = await put(api), list[threading.Thread](), Layout.tenants

    def told(layout: Layout) -> list[str]:
        looked.append(threading.current_thread())
        return tenants(layout)

    monkeypatch.setattr(Layout, "tenants", told)
    for path in ("/v1/files", f"/v1/files/{file_id}", "/v1/batches", "/v1/batches/batch_1"):
        await api.get(path)
    asked = {"input_file_id": "no", "endpoint": COMPLETIONS, "completion_window": "24h"}
    await api.post("/v1/batches", json=asked)
    await api.delete(f"/v1/files/{file_id}")
    assert len(looked) >= 6
    assert threading.current_thread() not in looked


# Uploads that stand still.


class Slow:
    """Uploads whose clients send nothing."""

    def __init__(self, store: FileStore) -> None:
        self._uploads = Uploads(store)
        self._begun = asyncio.Semaphore(0)
        self._held: list[asyncio.Task[object]] = []

    async def begin(self, tenant: str) -> None:
        """One more is being taken. Raises: HttpError if it is not."""
        taking = asyncio.ensure_future(
            self._uploads.take(self._request(), Principal(tenant, frozenset({"submit"})))
        )
        waiting = asyncio.ensure_future(self._begun.acquire())
        await asyncio.wait({taking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if taking.done():
            waiting.cancel()
            await taking
        self._held.append(taking)

    async def end_one(self) -> None:
        """The client that came first leaves."""
        first = self._held.pop(0)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first

    async def end(self) -> None:
        """All leave."""
        while self._held:
            await self.end_one()

    def _request(self) -> Request:
        headers = [(b"content-type", b"multipart/form-data; boundary=b")]
        return Request({"type": "http", "method": "POST", "headers": headers}, self._receive)

    async def _receive(self) -> Message:
        self._begun.release()
        return await asyncio.Future[Message]()


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Slow]:
    made = Slow(FileStore(Layout(tmp_path, "pool"), FileBounds(100, 100, 100)))
    yield made
    await made.end()


async def test_a_tenant_leaves_uploads_to_others(slow: Slow) -> None:
    for _ in range(TENANT_UPLOADS):
        await slow.begin("acme")
    with pytest.raises(HttpError, match="tenant acme") as refused:
        await slow.begin("acme")
    assert (refused.value.status, refused.value.code) == (429, "too_many_uploads")
    await slow.begin("bob")
    await slow.end_one()
    await slow.begin("acme")


async def test_an_api_takes_so_many_uploads(slow: Slow) -> None:
    for number in range(UPLOADS_AT_ONCE):
        await slow.begin(f"tenant{number}")
    with pytest.raises(HttpError, match="this api") as refused:
        await slow.begin("late")
    assert (refused.value.status, refused.value.code) == (429, "too_many_uploads")
