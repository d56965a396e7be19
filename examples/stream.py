"""Follow a job as it goes on, lose the connection, and go on where it broke off."""

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx2

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any


def events(client: httpx2.Client, path: str, after: str) -> Iterator[tuple[str, str, Any]]:
    """Server-sent events: id, name and data of each."""
    headers = {"Last-Event-ID": after} if after else {}
    with client.stream("GET", path, headers=headers) as reply:
        reply.raise_for_status()
        fields: dict[str, str] = {}
        for line in reply.iter_lines():
            name, _, value = line.partition(": ")
            fields[name] = value
            if not line and "data" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}


with httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
    body = {
        "prompt": "Once upon a time there was a cache",
        "stream": True,
        "sampling_params": {"max_new_tokens": 60, "ignore_eos": True},
    }
    path = client.post("/v1/jobs", json=body).raise_for_status().json()["urls"]["events"]
    text, last_id, job = "", "", None
    while job is None:
        for event_id, name, data in events(client, path, last_id):
            was_first, last_id = not last_id, event_id
            if name == "delta":
                # After the death of a worker a delta may begin before what was told.
                text = text[: data["from"]] + data["text"]
            if name == "end":
                job = data
            if was_first:
                print("the connection is lost after the first event")
                break
    print(text)
    assert text == job["result"]["text"]
