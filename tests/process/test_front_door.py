"""The original Preble's example as its users run it, in front of two servers."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from proc_support import child_pids, is_gone
from sglang_stub import SGLangStub

import preble

pytestmark = [pytest.mark.process, pytest.mark.anyio]

WITHIN_S = 60.0
TOKENIZER = str(Path(preble.__file__).parent / "data" / "tokenizer")
MODEL_INFO = {"model_path": "/models/smol", "tokenizer_path": TOKENIZER, "is_generation": True}
SERVER_INFO = {"page_size": 1, "context_length": 2048, "max_total_num_tokens": 20_000}
EXAMPLE = """
from preble.main import start_server

start_server(
    runtime_selection_policy="{2}",
    runtime_urls="{0}/generate,{1}/generate",
    host="127.0.0.1",
    port=0,
    model="mistralai/Mistral-7B-v0.1",
)
"""


LAST = """
from preble.policy.choice import Choice, Rule


def last():
    return Rule("mine", lambda options: Choice(len(options) - 1, "the last one"))
"""


class FrontDoor:
    """A running example, and the servers behind it."""

    def __init__(
        self, process: asyncio.subprocess.Process, log: Path, url: str, stubs: list[SGLangStub]
    ) -> None:
        self.process = process
        self.log = log
        self.stubs = stubs
        self.client = httpx2.AsyncClient(base_url=url, timeout=WITHIN_S, trust_env=False)

    async def generate(self, **body: object) -> httpx2.Response:
        return await self.client.post("/generate", json=body)


@asynccontextmanager
async def started(folder: Path, policy: str = "custom") -> AsyncGenerator[FrontDoor]:
    """The example in front of two stubs, killed at the end if it still runs."""
    log = folder / "log"
    async with (
        SGLangStub(model_info=MODEL_INFO, server_info=SERVER_INFO, page_size=1) as one,
        SGLangStub(model_info=MODEL_INFO, server_info=SERVER_INFO, page_size=1) as other,
    ):
        script = folder / "example.py"
        script.write_text(EXAMPLE.format(one.url, other.url, policy))
        environ = {**os.environ, "PREBLE_DATA_DIR": str(folder / "data")}
        with log.open("w") as lines:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(script), env=environ, stdout=asyncio.subprocess.PIPE,
                stderr=lines,
            )  # fmt: skip
        assert process.stdout
        try:
            async with asyncio.timeout(WITHIN_S):
                first = (await process.stdout.readline()).decode()
            assert first.startswith("api"), log.read_text()
            running = FrontDoor(process, log, first.split()[1], [one, other])
            async with running.client:
                yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
async def front_door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with started(tmp_path) as running:
        yield running


def data(line: str) -> Any:  # noqa: ANN401  JSON
    return json.loads(line.removeprefix("data: "))


async def test_example_answers_streams_and_leaves_nothing_behind(front_door: FrontDoor) -> None:
    sampling = {"max_new_tokens": 3, "temperature": 0}
    replies = await asyncio.gather(*(
        front_door.generate(text=f"Prompt number {number} of many", sampling_params=sampling)
        for number in range(6)
    ))  # fmt: skip

    assert [reply.status_code for reply in replies] == [200] * 6
    for reply in replies:
        answer = reply.json()
        assert len(answer["output_ids"]) == 3
        assert answer["meta_info"]["finish_reason"] == {"type": "length", "length": 3}
    assert all(stub.requests["/generate"].qsize() for stub in front_door.stubs)

    streamed = await front_door.generate(text="Once", sampling_params=sampling, stream=True)
    *_, event, end = [line for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert len(data(event)["output_ids"]) == 3
    assert end == "data: [DONE]"

    said = front_door.log.read_text()
    assert "clients will see the name mistralai/Mistral-7B-v0.1" in said
    started_here = child_pids(front_door.process.pid)
    assert len(started_here) == 5

    front_door.process.send_signal(signal.SIGTERM)

    async with asyncio.timeout(WITHIN_S):
        assert await front_door.process.wait() == 0
    assert all(is_gone(pid) for pid in started_here)


async def test_job_of_a_client_that_left_goes_on(front_door: FrontDoor) -> None:
    for stub in front_door.stubs:
        stub.go_on.clear()
    body = {"text": "Once", "sampling_params": {"max_new_tokens": 2}, "stream": True}

    async with front_door.client.stream("POST", "/generate", json=body) as reply:
        path = f"/v1/jobs/{reply.headers['x-preble-job']}"
        assert (await front_door.client.get(path)).json()["ended_at"] is None
    for stub in front_door.stubs:
        stub.go_on.set()

    async with asyncio.timeout(WITHIN_S):
        while (  # noqa: ASYNC110  # see support.eventually
            job := (await front_door.client.get(path)).json()
        )["ended_at"] is None:
            await asyncio.sleep(0.01)
    assert job["status"] == "completed"


async def test_a_policy_of_ones_own_places_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules_behind_the_door.py").write_text(LAST)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    async with started(tmp_path, "rules_behind_the_door:last") as front_door:
        replies = [await front_door.generate(text=f"Prompt {number}") for number in range(3)]
        first, last = (stub.requests["/generate"].qsize() for stub in front_door.stubs)
    assert [reply.status_code for reply in replies] == [200] * 3
    assert (first, last) == (0, 3)
