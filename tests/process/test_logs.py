"""Logs of a whole stack: one request is followed by its ids, and nobody's words are in them."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from processes import Stack, stack
from support import eventually

pytestmark = pytest.mark.process

SAID = "a word that only the prompt has"
KEY = "operator-key-of-this-test"
PROCESSES = ("api", "scheduler", "gpu0")


def lines(served: Stack, name: str) -> list[dict[str, Any]]:
    logged = served.log(name).splitlines()
    return [json.loads(line) for line in logged if not line.startswith("preble-api listening")]


def test_ids_lead_from_a_request_to_its_job_and_prompts_and_keys_are_not_logged(
    tmp_path: Path,
) -> None:
    with stack(
        tmp_path, instances=1, log_format="json", log_level="debug", emulated_speed="20",
        api_key=KEY,
    ) as served:  # fmt: skip
        headers = {"authorization": f"Bearer {KEY}", "x-request-id": "my-own-id"}
        reply = httpx2.post(
            f"{served.url}/v1/jobs", json={"prompt": SAID}, headers=headers, trust_env=False
        )
        assert reply.status_code == 202
        assert reply.headers["x-request-id"] == "my-own-id"
        job_id = reply.json()["id"]
        eventually(lambda: served.completed() == 1)
        (accepted,) = [each for each in lines(served, "api") if "request_id" in each]
        assert accepted["request_id"] == "my-own-id"
        assert job_id in accepted["message"]
        ran = [each for each in lines(served, "gpu0") if each.get("job_id") == job_id]
        assert next(each["message"] for each in ran) == "begins attempt=1"
        logged = {name: lines(served, name) for name in PROCESSES}
        assert {each["process"] for each in logged["gpu0"]} == {"worker gpu0"}
        said = json.dumps(logged)
        assert SAID not in said
        assert KEY not in said
