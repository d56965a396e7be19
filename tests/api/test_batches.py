"""`/v1/batches`: what is refused and where, what is shown, and who sees it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_support import OneWorker, Serve
from batch_support import COMPLETIONS, ENDED, jsonl, line, lines, until
from msgspec.structs import replace

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import JobFailure, TokenLogprob
from preble_api.batches.schemas import MAX_ERRORS, MAX_LINES
from preble_api.openai.fields import UNSUPPORTED

pytestmark = pytest.mark.anyio


@pytest.fixture
def batch_settings(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, files_dir=str(tmp_path / "files"), max_tenant_batches=2)


@pytest.fixture
async def api(
    serve: Serve, batch_settings: Settings, memory_broker: MemoryBroker
) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(batch_settings, memory_broker) as made:
        yield made


async def upload(api: httpx2.AsyncClient, data: bytes) -> str:
    files = {"file": ("in.jsonl", data)}
    reply = await api.post("/v1/files", data={"purpose": "batch"}, files=files)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


async def ask(api: httpx2.AsyncClient, data: bytes, **fields: object) -> httpx2.Response:
    asked = {"endpoint": COMPLETIONS, "completion_window": "24h", **fields}
    if "input_file_id" not in asked:
        asked["input_file_id"] = await upload(api, data)
    return await api.post("/v1/batches", json=asked)


async def begin(api: httpx2.AsyncClient, data: bytes, **fields: object) -> dict[str, Any]:
    reply = await ask(api, data, **fields)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.mark.parametrize(
    "header", ["Idempotency-Key", "Cancel-After", "X-Preble-Tenant", "X-Preble-Priority"]
)
async def test_a_header_that_would_be_forgotten_is_refused(
    api: httpx2.AsyncClient, header: str
) -> None:
    asked = {"input_file_id": "file-1", "endpoint": COMPLETIONS, "completion_window": "24h"}
    reply = await api.post("/v1/batches", json=asked, headers={header: "90"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, header)
    assert "not heeded" in reply.json()["error"]["message"]


async def show(api: httpx2.AsyncClient, batch_id: str) -> dict[str, Any]:
    return dict((await api.get(f"/v1/batches/{batch_id}")).json())


async def end_of(api: httpx2.AsyncClient, batch_id: str) -> dict[str, Any]:
    async def has_ended() -> bool:
        return (await show(api, batch_id))["status"] in ENDED

    await until(has_ended)
    return await show(api, batch_id)


async def jobs_of(broker: MemoryBroker, number: int) -> OneWorker:
    """A worker that has claimed the jobs of a batch, once all are in the queue."""

    async def are_there() -> bool:
        return len(await broker.peek(1_000)) == number

    await until(are_there)
    worker = OneWorker(broker)
    await worker.assign_all()
    assert len(await worker.run_all()) == number
    return worker


async def read(api: httpx2.AsyncClient, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    text = (await api.get(f"/v1/files/{file_id}/content")).text
    return [httpx2.Response(200, text=each).json() for each in text.splitlines()]


async def test_a_batch_is_answered_and_counted(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    batch = await begin(api, lines(3), metadata={"for": "tests"})
    assert (batch["object"], batch["status"]) == ("batch", "validating")
    await (await jobs_of(memory_broker, 3)).complete_all()
    ended = await end_of(api, batch["id"])
    assert ended["status"] == "completed"
    assert ended["metadata"] == {"for": "tests"}
    assert ended["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert ended["usage"]["input_tokens_details"]["cached_tokens"] == 3 * 4
    assert ended["error_file_id"] is None
    times = [ended[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed")]
    assert times == sorted(times)
    output = await read(api, ended["output_file_id"])
    assert {each["custom_id"] for each in output} == {"line-0", "line-1", "line-2"}
    assert len({each["id"] for each in output}) == 3
    for each in output:
        assert (each["error"], each["response"]["status_code"]) == (None, 200)
        assert each["response"]["body"]["choices"][0]["text"] == "answer"
        job = await api.get(f"/v1/jobs/{each['response']['request_id']}")
        assert job.json()["priority"] == "batch"


async def test_lines_of_a_batch_tell_logprobs_as_their_route_does(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    batch = await begin(api, jsonl([line(0, logprobs=1, seed=5), line(1)]))
    worker = await jobs_of(memory_broker, 2)
    told = tuple(TokenLogprob(-0.5, ((each, -0.5),)) for each in (1, 2))
    await worker.complete_all(logprobs=told)
    ended = await end_of(api, batch["id"])
    output = await read(api, ended["output_file_id"])
    choices = {each["custom_id"]: each["response"]["body"]["choices"][0] for each in output}
    assert choices["line-0"]["logprobs"] == {
        "tokens": ["<|im_start|>", "<|im_end|>"], "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"<|im_start|>": -0.5}, {"<|im_end|>": -0.5}], "text_offset": [0, 0],
    }  # fmt: skip
    assert choices["line-1"]["logprobs"] is None


async def test_a_batch_of_failures_completes_without_an_output_file(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    batch = await begin(api, lines(2))
    worker = await jobs_of(memory_broker, 2)
    await worker.fail_all(JobFailure("engine_refused", "too hot"))
    ended = await end_of(api, batch["id"])
    assert (ended["status"], ended["output_file_id"]) == ("completed", None)
    assert ended["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    assert [each["code"] for each in ended["errors"]["data"]] == ["engine_refused"]
    for each in await read(api, ended["error_file_id"]):
        assert each["error"] == {"code": "engine_refused", "message": "too hot"}
        assert each["response"]["status_code"] == 400
        assert each["response"]["body"]["error"]["type"] == "invalid_request_error"


async def test_a_prompt_that_is_too_long_fails_alone(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    long = line(1) | {"body": line(1)["body"] | {"prompt": "one two " * 400}}
    batch = await begin(api, jsonl([line(0), long]))
    await (await jobs_of(memory_broker, 1)).complete_all()
    ended = await end_of(api, batch["id"])
    assert ended["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    (error,) = await read(api, ended["error_file_id"])
    assert (error["custom_id"], error["error"]["code"]) == ("line-1", "context_length_exceeded")
    assert error["response"]["body"]["error"]["param"] == "prompt"


GOOD = line(0)
WRONG = {
    "no json": (b"{", "invalid_value", None),
    "no object": (b"[]\n", "invalid_value", None),
    "no id": (jsonl([{**GOOD, "custom_id": ""}]), "invalid_value", None),
    "long id": (jsonl([{**GOOD, "custom_id": "x" * 513}]), "invalid_value", None),
    "no body": (jsonl([{k: v for k, v in GOOD.items() if k != "body"}]), "invalid_value", None),
    "method": (jsonl([{**GOOD, "method": "GET"}]), "invalid_value", "method"),
    "url": (jsonl([{**GOOD, "url": "/v1/responses"}]), "invalid_value", "url"),
    "model": (jsonl([line(9, model="gpt-4")]), "invalid_value", "model"),
    "stream": (jsonl([line(9, stream=True)]), "invalid_value", "stream"),
    "priority": (jsonl([line(9, priority="normal")]), "invalid_value", "priority"),
    "tenant": (jsonl([line(9, tenant="carol")]), "invalid_value", "tenant"),
    "no number": (jsonl([line(9, echo=0)]).replace(b":0}", b":1e999}"), UNSUPPORTED, "echo"),
    "field": (jsonl([line(9, colour="red")]), "invalid_value", "colour"),
    "range": (jsonl([line(9, temperature=9)]), "invalid_value", "temperature"),
    "not offered": (jsonl([line(9, best_of=5)]), UNSUPPORTED, "best_of"),
    "logprobs": (jsonl([line(9, logprobs=6)]), "invalid_value", "logprobs"),
    "duplicate": (jsonl([GOOD]), "duplicate_custom_id", "custom_id"),
    "too long": (jsonl([line(9, prompt="x" * 200_000)]), "line_too_long", None),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_line_fails_the_batch_and_is_named(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, what: str
) -> None:
    wrong, code, param = WRONG[what]
    batch = await begin(api, jsonl([GOOD, line(1)]) + b"\n" + wrong)
    ended = await end_of(api, batch["id"])
    assert ended["status"] == "failed"
    assert ended["failed_at"] >= ended["created_at"]
    (error,) = ended["errors"]["data"]
    assert error["line"] == 4
    assert (error["code"], error["param"]) == (code, param)
    assert error["message"]
    assert await memory_broker.peek(10) == []


async def test_an_empty_file_fails_the_batch(api: httpx2.AsyncClient) -> None:
    for data in (b"", b"\n\n"):
        ended = await end_of(api, (await begin(api, data))["id"])
        assert [each["code"] for each in ended["errors"]["data"]] == ["empty_file"]


async def test_no_more_than_so_many_errors_are_listed(api: httpx2.AsyncClient) -> None:
    ended = await end_of(api, (await begin(api, b"{}\n" * (MAX_ERRORS + 50)))["id"])
    assert [each["line"] for each in ended["errors"]["data"]] == list(range(1, MAX_ERRORS + 1))


async def test_a_batch_has_so_many_lines(api: httpx2.AsyncClient) -> None:
    short = {**GOOD, "body": {"model": GOOD["body"]["model"], "prompt": "x"}}
    data = jsonl({**short, "custom_id": str(number)} for number in range(MAX_LINES + 1))
    ended = await end_of(api, (await begin(api, data))["id"])
    (error,) = ended["errors"]["data"]
    assert (error["code"], error["line"]) == ("too_many_lines", MAX_LINES + 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
        ({"order": "random"}, "order"),
        ({"priority": "urgent"}, "priority"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(
    api: httpx2.AsyncClient, fields: dict[str, object], param: str
) -> None:
    reply = await ask(api, lines(1), **fields)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"].startswith(param)


async def test_only_an_input_can_be_run(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await ask(api, b"", input_file_id="file-" + "0" * 32)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "file_not_found")
    batch = await begin(api, lines(1))
    await (await jobs_of(memory_broker, 1)).complete_all()
    ended = await end_of(api, batch["id"])
    reply = await ask(api, b"", input_file_id=ended["output_file_id"])
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input_file_id")


async def test_a_tenant_has_so_many_batches_under_way(api: httpx2.AsyncClient) -> None:
    first = await begin(api, lines(1))
    await begin(api, lines(1))
    reply = await ask(api, lines(1))
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "too_many_batches")
    await api.post(f"/v1/batches/{first['id']}/cancel")
    await end_of(api, first["id"])

    async def has_room() -> bool:
        return (await ask(api, lines(1))).status_code == 200

    await until(has_room)


async def test_deleting_the_input_harms_no_batch(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    batch = await begin(api, lines(2))
    assert (await api.delete(f"/v1/files/{batch['input_file_id']}")).status_code == 200
    await (await jobs_of(memory_broker, 2)).complete_all()
    assert (await end_of(api, batch["id"]))["status"] == "completed"


async def test_cancelling_gives_every_line_an_end(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    batch = await begin(api, lines(3))
    await jobs_of(memory_broker, 3)
    for _ in range(2):
        reply = await api.post(f"/v1/batches/{batch['id']}/cancel")
        assert reply.json()["status"] in {"cancelling", "cancelled"}
    ended = await end_of(api, batch["id"])
    assert ended["status"] == "cancelled"
    assert ended["cancelled_at"] >= ended["cancelling_at"] >= ended["created_at"]
    assert ended["request_counts"] == {"total": 3, "completed": 0, "failed": 3}
    codes = {each["error"]["code"] for each in await read(api, ended["error_file_id"])}
    assert codes == {"batch_cancelled"}
    again = await api.post(f"/v1/batches/{batch['id']}/cancel")
    assert again.json() == ended


async def test_pages_hold_each_batch_once(
    serve: Serve, batch_settings: Settings, memory_broker: MemoryBroker
) -> None:
    async with serve(replace(batch_settings, max_tenant_batches=5), memory_broker) as api:
        await check_pages(api)


async def check_pages(api: httpx2.AsyncClient) -> None:
    made = [(await begin(api, b"{}"))["id"] for _ in range(5)][::-1]
    seen: list[str] = []
    query = {"limit": "2"}
    while True:
        page = (await api.get("/v1/batches", params=query)).json()
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert seen == made


@pytest.mark.parametrize("batch_id", ["batch_" + "0" * 32, "batch_1", "..", "file-" + "0" * 32])
async def test_an_unknown_batch_is_404(api: httpx2.AsyncClient, batch_id: str) -> None:
    assert (await api.get(f"/v1/batches/{batch_id}")).status_code == 404
    assert (await api.post(f"/v1/batches/{batch_id}/cancel")).status_code in {404, 405}
