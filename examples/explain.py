"""Ask why a job went where it went, and how much of its prompt was reused."""

import os

import httpx2

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any

body = {
    "prompt": "A cache is a place where what was computed before is kept. " * 30,
    "sampling_params": {"max_new_tokens": 4},
}
with httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
    for time in ("first", "second"):
        urls = client.post("/v1/jobs", json=body).raise_for_status().json()["urls"]
        client.get(urls["self"], headers={"Prefer": "wait=30"}).raise_for_status()
        why = client.get(urls["explain"]).raise_for_status().json()
        hits = why["hit_tokens"]
        print(f"the {time} time: {why['verdict']}: {why['summary']}")
        print(f"  on {why['instance']}, by {why['policy']}: {why['reason']}")
        print(f"  hit tokens: {hits['predicted']} predicted, {hits['delivered']} delivered")
        for each in why["candidates"]:
            print(f"  {each['instance_id']}: {each['hit_tokens']} hit tokens, cost {each['cost']}")
