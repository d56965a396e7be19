"""`/v1/files` in OpenAI's form: whole or absent, bounded, and nobody else's."""

import errno
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_support import Serve
from msgspec.structs import replace

from preble.broker.memory import MemoryBroker
from preble.clock import unix_s
from preble.config import Settings
from preble_api.files import sweeping
from preble_api.files.layout import Layout
from preble_api.files.store import FileBounds, FileStore
from preble_api.files.sweeping import FileSweep

pytestmark = pytest.mark.anyio

MAX_FILE_BYTES = 100_000
DATA = b'{"custom_id": "a"}\n'


@pytest.fixture
def file_settings(settings: Settings, tmp_path: Path) -> Settings:
    return replace(
        settings, files_dir=str(tmp_path / "files"), max_file_bytes=MAX_FILE_BYTES,
        max_tenant_files=4, max_tenant_file_bytes=3 * MAX_FILE_BYTES,
    )  # fmt: skip


@pytest.fixture
async def files(
    serve: Serve, file_settings: Settings, memory_broker: MemoryBroker
) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(file_settings, memory_broker) as made:
        yield made


async def put(
    client: httpx2.AsyncClient,
    data: bytes = DATA,
    fields: Mapping[str, str] | None = None,
    *,
    name: str = "in.jsonl",
) -> httpx2.Response:
    form = {"purpose": "batch", **(fields or {})}
    return await client.post("/v1/files", data=form, files={"file": (name, data)})


async def made(client: httpx2.AsyncClient, data: bytes = DATA) -> dict[str, Any]:
    reply = await put(client, data)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def on_disk(settings: Settings) -> list[Path]:
    """All regular files below the folder of files."""
    return [each for each in Path(settings.files_dir).rglob("*") if each.is_file()]


async def test_a_file_is_kept_byte_by_byte(files: httpx2.AsyncClient) -> None:
    data = bytes(range(256)) * 200 + b"--boundary\r\n\r\n"
    file = await made(files, data)
    assert (file["object"], file["purpose"], file["status"]) == ("file", "batch", "processed")
    assert (file["filename"], file["bytes"]) == ("in.jsonl", len(data))
    assert (await files.get(f"/v1/files/{file['id']}")).json() == file
    assert (await files.get(f"/v1/files/{file['id']}/content")).content == data


async def test_a_deleted_file_is_gone(files: httpx2.AsyncClient, file_settings: Settings) -> None:
    path = f"/v1/files/{(await made(files))['id']}"
    assert (await files.delete(path)).json()["deleted"] is True
    for reply in (
        await files.get(path),
        await files.get(f"{path}/content"),
        await files.delete(path),
    ):
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "file_not_found"
    assert on_disk(file_settings) == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_hold_each_file_once(files: httpx2.AsyncClient, order: str) -> None:
    ids = [(await made(files))["id"] for _ in range(4)]
    seen: list[str] = []
    query = {"limit": "3", "order": order}
    while True:
        page = (await files.get("/v1/files", params=query)).json()
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert seen == (ids if order == "asc" else ids[::-1])


async def test_a_list_shows_one_purpose(files: httpx2.AsyncClient) -> None:
    file = await made(files)
    for purpose, expected in (("batch", [file]), ("batch_output", []), ("vision", [])):
        page = (await files.get("/v1/files", params={"purpose": purpose})).json()
        assert page["data"] == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"expires_after[seconds]": "60", "expires_after[anchor]": "created_at"}, "seconds"),
        ({"expires_after[seconds]": "7200"}, "anchor"),
        ({"colour": "red"}, "colour"),
        ({"tenant": "../up"}, "tenant"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_kept(
    files: httpx2.AsyncClient, file_settings: Settings, fields: dict[str, str], param: str
) -> None:
    reply = await put(files, fields=fields)
    assert reply.status_code == 400
    assert param in reply.json()["error"]["param"]
    assert on_disk(file_settings) == []


async def test_expiry_counts_from_creation(files: httpx2.AsyncClient) -> None:
    fields = {"expires_after[seconds]": "7200", "expires_after[anchor]": "created_at"}
    file = (await put(files, fields=fields)).json()
    assert file["expires_at"] - file["created_at"] == 7200


@pytest.mark.parametrize("data", [b"x" * (MAX_FILE_BYTES + 1), b"x" * (3 * MAX_FILE_BYTES)])
async def test_a_file_that_is_too_large_is_refused(
    files: httpx2.AsyncClient, file_settings: Settings, data: bytes
) -> None:
    assert (await put(files, data)).status_code == 413
    assert on_disk(file_settings) == []


async def test_the_largest_file_passes_the_bound_of_other_bodies(
    serve: Serve, file_settings: Settings, memory_broker: MemoryBroker
) -> None:
    small = replace(file_settings, max_body_bytes=1_000)
    async with serve(small, memory_broker) as client:
        assert (await put(client, b"x" * MAX_FILE_BYTES)).status_code == 200
        assert (await client.post("/v1/jobs", json={"prompt": "x" * 2_000})).status_code == 413


async def test_a_tenant_has_so_many_files_and_bytes(files: httpx2.AsyncClient) -> None:
    large = b"x" * MAX_FILE_BYTES
    for _ in range(3):
        await made(files, large)
    reply = await put(files, large)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "too_many_files")
    assert reply.headers["x-should-retry"] == "false"
    assert (await put(files, b"", {"tenant": "other"})).status_code == 200
    await made(files, b"")
    assert (await put(files, b"")).status_code == 429


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"--b--", 415),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"nothing of the kind", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\nhalf',
            400,
        ),
    ],
)
async def test_what_is_no_form_is_refused(
    files: httpx2.AsyncClient, file_settings: Settings, content_type: str, body: bytes, status: int
) -> None:
    headers = {"content-type": content_type}
    assert (await files.post("/v1/files", content=body, headers=headers)).status_code == status
    assert on_disk(file_settings) == []


async def test_a_form_of_many_or_large_fields_is_refused(files: httpx2.AsyncClient) -> None:
    assert (await put(files, DATA, {f"f{n}": "x" for n in range(20)})).status_code == 400
    assert (await put(files, DATA, {"tenant": "x" * 2_000})).status_code == 400
    twice = [("file", ("a", DATA)), ("file", ("b", DATA))]
    reply = await files.post("/v1/files", data={"purpose": "batch"}, files=twice)
    assert reply.status_code == 400


async def test_a_name_is_shown_and_never_a_path(
    files: httpx2.AsyncClient, file_settings: Settings
) -> None:
    reply = await put(files, name="../../../etc/passwd\x1b[31m")
    assert reply.status_code == 200
    assert "\x1b" not in reply.json()["filename"]
    assert {each.name for each in on_disk(file_settings)} == {"content", "meta.json"}


@pytest.mark.parametrize("file_id", ["..", "file-1", "file-" + "0" * 32, "%2e%2e%2f"])
async def test_an_id_that_is_none_is_404(files: httpx2.AsyncClient, file_id: str) -> None:
    assert (await files.get(f"/v1/files/{file_id}/content")).status_code == 404


async def test_a_full_disk_is_told_and_leaves_nothing(
    files: httpx2.AsyncClient, file_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        reply = await put(files)
    assert (reply.status_code, reply.json()["error"]["code"]) == (507, "storage_full")
    assert on_disk(file_settings) == []
    assert (await put(files)).status_code == 200


async def test_without_a_folder_there_are_no_files(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/files")).status_code == 404


class Clockwork:
    """Unix time that a test moves."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        for module in ("sweeping", "store"):
            patch.setattr(f"preble_api.files.{module}.unix_s", lambda: unix_s() + self.ahead_s)


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> Clockwork:
    return Clockwork(monkeypatch)


async def test_an_expired_file_is_gone_at_once_and_swept_later(
    files: httpx2.AsyncClient, file_settings: Settings, clockwork: Clockwork
) -> None:
    path = f"/v1/files/{(await made(files))['id']}"
    clockwork.ahead_s = 31 * 86_400.0
    assert (await files.get(path)).status_code == 404
    assert (await files.get("/v1/files")).json()["data"] == []
    layout = Layout(Path(file_settings.files_dir), file_settings.pool)
    store = FileStore(layout, FileBounds(1, 1, 1))
    FileSweep(store, layout).sweep()
    assert on_disk(file_settings) == []


async def test_an_abandoned_upload_is_swept_and_one_under_way_is_not(
    tmp_path: Path, clockwork: Clockwork
) -> None:
    layout = Layout(tmp_path, "pool")
    store = FileStore(layout, FileBounds(100, 1, 100))
    draft = store.draft("tenant")
    draft.write(b"half")
    FileSweep(store, layout).sweep()
    assert len(list(layout.drafts("tenant").iterdir())) == 1
    clockwork.ahead_s = 2 * sweeping.ABANDONED_S
    FileSweep(store, layout).sweep()
    assert list(layout.drafts("tenant").iterdir()) == []
    draft.discard()
