"""Submit one job and wait for its result: `python examples/jobs.py [PROMPT]`."""

import os
import sys

import httpx2

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any
PROMPT = sys.argv[1] if len(sys.argv) > 1 else "The capital of France is"

with httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
    accepted = client.post("/v1/jobs", json={"prompt": PROMPT}).raise_for_status().json()
    print(f"job {accepted['id']} was accepted", file=sys.stderr)
    job = accepted
    while job["status"] in {"waiting", "assigned", "running"}:
        # Waits for up to ten seconds at the api, so that nothing needs to sleep here.
        answer = client.get(accepted["urls"]["self"], headers={"Prefer": "wait=10"})
        job = answer.raise_for_status().json()
    if job["error"]:
        sys.exit(f"{job['error']['code']}: {job['error']['message']}")
    usage = job["result"]["usage"]
    print(job["result"]["text"])
    print(f"{usage['cached_tokens']} of {usage['prompt_tokens']} prompt tokens were cached")
