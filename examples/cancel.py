"""End a job that nobody needs any more; and one that would come too late."""

import os

import httpx2

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any

LONG = {
    "prompt": "Tell me everything",
    "sampling_params": {"max_new_tokens": 4000, "ignore_eos": True},
}
with httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
    # Twice does no harm: what has ended stays as it is.
    urls = client.post("/v1/jobs", json=LONG).raise_for_status().json()["urls"]
    print(client.post(urls["cancel"]).raise_for_status().json()["status"])

    urls = (
        client.post("/v1/jobs", json={**LONG, "deadline_s": 0.1}).raise_for_status().json()["urls"]
    )
    job = client.get(urls["self"], headers={"Prefer": "wait=30"}).raise_for_status().json()
    print(job["status"], job["error"])
