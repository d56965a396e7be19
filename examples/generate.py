"""SGLang's own route, for clients that were written for it: only the URL is other."""

import json
import os

import httpx2

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any

SAMPLING = {"max_new_tokens": 8, "temperature": 0}

with httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
    two = {
        "text": ["The capital of France is", "The capital of Italy is"],
        "sampling_params": SAMPLING,
    }
    for answer in client.post("/generate", json=two).raise_for_status().json():
        print(answer["text"], answer["meta_info"]["cached_tokens"])

    streamed = {"text": "The capital of Spain is", "stream": True, "sampling_params": SAMPLING}
    with client.stream("POST", "/generate", json=streamed) as reply:
        for line in reply.raise_for_status().iter_lines():
            if line.startswith("data: {"):
                # All the text so far.
                print(json.loads(line.removeprefix("data: "))["text"])
