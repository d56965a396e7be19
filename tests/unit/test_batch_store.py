"""Batches on disk: made whole, found by who may, and gone when their time is over."""

import os
from pathlib import Path

import pytest

from preble.clock import unix_s
from preble_api.batches import store as store_module
from preble_api.batches.folder import BatchState
from preble_api.batches.schemas import BatchRequest
from preble_api.batches.shift import open_shift
from preble_api.batches.store import BatchStore
from preble_api.errors import HttpError
from preble_api.files.layout import Layout, new_file_id
from preble_api.files.schemas import FileObject
from preble_api.files.store import FileBounds, FileStore
from preble_api.principal import ANYONE

TENANT = "a"
DAY_S = 86_400


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, "pool")


@pytest.fixture
def files(layout: Layout) -> FileStore:
    return FileStore(layout, FileBounds(1_000, 10, 10_000))


@pytest.fixture
def store(layout: Layout, files: FileStore) -> BatchStore:
    return BatchStore(layout, files, model="m", max_tenant_batches=10)


def made(store: BatchStore, files: FileStore) -> str:
    """The id of a new batch."""
    draft, now = files.draft(TENANT), int(unix_s())
    draft.write(b"{}\n")
    meta = FileObject(new_file_id(), 3, now, "in.jsonl", "batch", now + 3_600)
    assert files.commit(draft, meta, TENANT)
    request = BatchRequest(meta.id, "/v1/completions", "24h")
    return store.create(request, DAY_S, ANYONE, [TENANT]).id


def end(store: BatchStore, batch_id: str) -> None:
    shift = open_shift(store.folder(TENANT, batch_id))
    assert shift is not None
    shift.save(BatchState("completed", completed_at=1))
    shift.close()


def test_a_batch_is_looked_for_until_it_has_ended(store: BatchStore, files: FileStore) -> None:
    batch_id = made(store, files)
    store.close(TENANT, batch_id)
    assert store.open_batches() == [(TENANT, batch_id)]
    end(store, batch_id)
    store.close(TENANT, batch_id)
    assert store.open_batches() == []
    assert store.find([TENANT], batch_id).shown().status == "completed"


def test_a_batch_of_another_tenant_is_not_found(store: BatchStore, files: FileStore) -> None:
    batch_id = made(store, files)
    with pytest.raises(HttpError, match="no such batch"):
        store.find(["b"], batch_id)


def test_a_mark_without_a_batch_goes_once_nobody_can_be_making_it(
    store: BatchStore, layout: Layout, files: FileStore
) -> None:
    batch_id = made(store, files)
    files.remove(TENANT, store.folder(TENANT, batch_id).path)
    store.forget(TENANT, batch_id)
    assert store.open_batches() == [(TENANT, batch_id)]
    long_ago = unix_s() - 3_600
    os.utime(layout.open_mark(TENANT, batch_id), (long_ago, long_ago))
    store.forget(TENANT, batch_id)
    assert store.open_batches() == []


def test_only_what_ended_long_ago_is_swept(
    store: BatchStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, unfinished = made(store, files), made(store, files)
    end(store, ended)
    store.sweep()
    assert len(store.page([TENANT], "", 10).data) == 2
    monkeypatch.setattr(store_module, "unix_s", lambda: unix_s() + 40 * DAY_S)
    store.sweep()
    assert [each.id for each in store.page([TENANT], "", 10).data] == [unfinished]


def test_of_those_that_ended_the_oldest_go(
    layout: Layout, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_ENDED", 2)
    store = BatchStore(layout, files, model="m", max_tenant_batches=10)
    unfinished = made(store, files)
    ended = [made(store, files) for _ in range(4)]
    for batch_id in ended:
        end(store, batch_id)
        store.close(TENANT, batch_id)
    newest = made(store, files)
    kept = [each.id for each in store.page([TENANT], "", 10).data]
    assert kept == [newest, *ended[:1:-1], unfinished]


def test_what_is_to_end_is_told_apart(store: BatchStore, files: FileStore) -> None:
    running, cancelled, gone = (made(store, files) for _ in range(3))
    store.folder(TENANT, cancelled).ask_to_cancel()
    files.remove(TENANT, store.folder(TENANT, gone).path)
    stopped = store.stopped(store.open_batches())
    assert [each.batch_id for each in stopped] == [cancelled]
    assert {each.batch_id for each in store.open_batches()} == {running, cancelled, gone}
