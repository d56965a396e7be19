"""Files and batches on real processes, by OpenAI's own client, while processes are killed."""

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx2
import pytest
from batch_support import ENDED, each_once, jsonl, line, lines, results, sdk, start_batch
from openai import APIStatusError, NotFoundError, OpenAI
from processes import Stack, stack
from redis import Redis
from support import eventually, free_port

pytestmark = pytest.mark.process

NUMBER = 1_000
WITHIN_S = 120.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path, emulated_speed="40") as made:
        yield made


def has_ended(client: OpenAI, batch_id: str) -> bool:
    return client.batches.retrieve(batch_id).status in ENDED


def admitted(running: Stack) -> int:
    """Jobs that the queue has taken so far."""
    with Redis(port=running.redis_port, decode_responses=True) as redis:
        return int(redis.hget("preble:default:counts", "admitted") or 0)


def check_each_ran_once(running: Stack, number: int) -> None:
    """As many jobs were admitted and completed as there are lines, each in one execution."""
    assert admitted(running) == number
    with Redis(port=running.redis_port, decode_responses=True) as redis:
        # redis-py leaves this iterator without a type.
        keys = cast("Iterator[str]", redis.scan_iter("rq:job:*"))
        attempts = {redis.hget(key, "preble_attempt") for key in keys}
    assert running.completed() == number
    assert attempts == {"1"}


def check_all_answered(client: OpenAI, batch_id: str, number: int) -> None:
    output, errors = results(client, batch_id)
    assert errors == []
    assert each_once(output, number)
    batch = client.batches.retrieve(batch_id)
    assert batch.status == "completed"
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (number, number, 0)


def test_a_batch_of_a_thousand_lines_is_answered_line_by_line(running: Stack) -> None:
    client = sdk(running.url)
    batch_id = start_batch(client, lines(NUMBER))
    eventually(lambda: has_ended(client, batch_id), within_s=WITHIN_S)
    check_all_answered(client, batch_id, NUMBER)
    check_each_ran_once(running, NUMBER)
    usage = client.batches.retrieve(batch_id).usage
    assert usage is not None
    output, _ = results(client, batch_id)
    told = [each["response"]["body"]["usage"] for each in output]
    assert usage.input_tokens == sum(each["prompt_tokens"] for each in told)
    assert usage.output_tokens == sum(each["completion_tokens"] for each in told) == 4 * NUMBER
    cached = sum(each["prompt_tokens_details"]["cached_tokens"] for each in told)
    assert usage.input_tokens_details.cached_tokens == cached > 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_its_api_ends_another_takes_the_batch_over(
    running: Stack, number: signal.Signals
) -> None:
    second = sdk(second_api(running))
    batch_id = start_batch(sdk(running.url), lines(NUMBER, max_tokens=16))
    eventually(lambda: running.completed() > NUMBER // 5)
    assert f"batch {batch_id}" in running.log("api")
    running.signal("api", number)
    running.processes.pop("api").wait(WITHIN_S)
    eventually(lambda: has_ended(second, batch_id), within_s=WITHIN_S)
    check_all_answered(second, batch_id, NUMBER)
    check_each_ran_once(running, NUMBER)


def test_an_api_that_stood_still_and_goes_on_changes_nothing(running: Stack) -> None:
    first, second = sdk(running.url), sdk(second_api(running))
    batch_id = start_batch(first, lines(NUMBER, max_tokens=16))
    eventually(lambda: running.completed() > NUMBER // 5)
    running.signal("api", signal.SIGSTOP)
    eventually(lambda: has_ended(second, batch_id), within_s=WITHIN_S)
    ended, output = second.batches.retrieve(batch_id), results(second, batch_id)
    running.signal("api", signal.SIGCONT)
    eventually(lambda: f"batch {batch_id} is another api's now" in running.log("api"))
    assert first.batches.retrieve(batch_id) == ended
    assert results(first, batch_id) == output
    assert len(list(first.files.list())) == 2
    check_all_answered(first, batch_id, NUMBER)
    check_each_ran_once(running, NUMBER)


def second_api(running: Stack) -> str:
    """The URL of one more, once it answers."""
    port = free_port()
    running.start("api2", port=str(port))
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: answers(url))
    return url


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez").status_code == 200
    except httpx2.TransportError:
        return False


def test_an_api_that_is_started_again_goes_on_with_its_batch(running: Stack) -> None:
    client = sdk(running.url)
    batch_id = start_batch(client, lines(NUMBER, max_tokens=16))
    eventually(lambda: running.completed() > NUMBER // 5)
    running.kill("api")
    assert running.completed() < NUMBER
    # Jobs go on, and end with nobody there to take their results.
    eventually(lambda: running.completed() == admitted(running))
    running.start("api")
    eventually(lambda: running.ready(2))
    eventually(lambda: has_ended(client, batch_id), within_s=WITHIN_S)
    check_all_answered(client, batch_id, NUMBER)
    check_each_ran_once(running, NUMBER)


def test_a_cancelled_batch_keeps_what_was_answered(running: Stack) -> None:
    client = sdk(running.url)
    batch_id = start_batch(client, lines(NUMBER, max_tokens=64))
    eventually(lambda: running.completed() > NUMBER // 10)
    assert client.batches.cancel(batch_id).status == "cancelling"
    assert client.batches.cancel(batch_id).status in {"cancelling", "cancelled"}
    eventually(lambda: has_ended(client, batch_id), within_s=WITHIN_S)
    batch = client.batches.cancel(batch_id)
    assert batch.status == "cancelled"
    output, errors = results(client, batch_id)
    assert len(output) > NUMBER // 10
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}
    assert each_once([*output, *errors], NUMBER)
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (NUMBER, len(output), len(errors))
    with Redis(port=running.redis_port) as redis:
        assert redis.zcard("preble:default:jobs:*:unfinished") == 0


def test_a_batch_whose_window_is_over_keeps_what_was_answered(running: Stack) -> None:
    client = sdk(running.url)
    # Some end at once, however slow the machine; all cannot in time, however fast it is.
    data = jsonl(line(each, max_tokens=(4, 2_000)[each % 2]) for each in range(NUMBER))
    batch_id = start_batch(client, data, window="3s")
    eventually(lambda: has_ended(client, batch_id), within_s=WITHIN_S)
    batch = client.batches.retrieve(batch_id)
    assert batch.status == "expired"
    output, errors = results(client, batch_id)
    assert output
    assert {each["error"]["code"] for each in errors} == {"batch_expired"}
    assert each_once([*output, *errors], NUMBER)


def test_an_upload_whose_api_is_killed_is_absent(running: Stack) -> None:
    client = sdk(running.url)
    whole = client.files.create(file=("whole.jsonl", lines(1)), purpose="batch")
    head = (
        b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\n'
        b'content-disposition: form-data; name="file"; filename="half.jsonl"\r\n\r\n'
    )
    host, port = running.url.removeprefix("http://").split(":")
    request = (
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n"
        b"content-type: multipart/form-data; boundary=b\r\n\r\n"
    )
    drafts = running.folder / "files" / "default" / "default" / "drafts"
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(request + head + b"x" * 5_000_000)
        eventually(
            lambda: any(each.stat().st_size > 1_000_000 for each in drafts.glob("*/content"))
        )
        running.kill("api")
    running.start("api")
    eventually(lambda: running.ready(2))
    assert [each.id for each in client.files.list()] == [whole.id]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    unmount = ["umount", "--lazy", str(folder)]
    subprocess.run(unmount, check=True)


def test_a_full_disk_refuses_uploads_and_lets_a_batch_wait(
    tmp_path: Path, small_disk: Path
) -> None:
    with stack(tmp_path, files_dir=str(small_disk / "files"), emulated_speed="40") as running:
        client = sdk(running.url)
        with pytest.raises(APIStatusError) as caught:
            client.files.create(file=("in.jsonl", b"x" * 2_000_000), purpose="batch")
        assert (caught.value.status_code, caught.value.code) == (507, "storage_full")
        batch_id = start_batch(client, lines(200, max_tokens=32))
        eventually(lambda: running.completed() > 20)
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError):
            ballast.write_bytes(b"x" * 1_000_000)
        eventually(lambda: running.completed() == 200, within_s=WITHIN_S)
        assert not has_ended(client, batch_id)
        ballast.unlink()
        eventually(lambda: has_ended(client, batch_id), within_s=WITHIN_S)
        check_all_answered(client, batch_id, 200)
        check_each_ran_once(running, 200)


def test_files_are_put_listed_read_and_deleted(running: Stack) -> None:
    client = sdk(running.url)
    made = [
        client.files.create(
            file=(f"{number}.jsonl", b"%d\n" % number),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3_600},
        )
        for number in range(3)
    ]
    assert [each.id for each in client.files.list(limit=2)] == [each.id for each in made[::-1]]
    assert client.files.retrieve(made[0].id) == made[0]
    assert client.files.wait_for_processing(made[0].id) == made[0]
    assert client.files.content(made[1].id).read() == b"1\n"
    assert client.files.delete(made[1].id).deleted
    with pytest.raises(NotFoundError) as caught:
        client.files.retrieve(made[1].id)
    assert caught.value.code == "file_not_found"


def test_a_wrong_input_fails_with_the_numbers_of_its_lines(running: Stack) -> None:
    client = sdk(running.url)
    wrong = lines(2) + b"oops\n" + lines(1)
    batch_id = start_batch(client, wrong, metadata={"name": "wrong"})
    eventually(lambda: has_ended(client, batch_id))
    batch = client.batches.retrieve(batch_id)
    assert (batch.status, batch.metadata) == ("failed", {"name": "wrong"})
    assert batch.errors is not None
    assert batch.errors.data is not None
    found = [(each.line, each.code) for each in batch.errors.data]
    assert found == [(3, "invalid_value"), (4, "duplicate_custom_id")]
    assert [each.id for each in client.batches.list(limit=1)] == [batch_id]
