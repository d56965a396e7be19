"""What two tenants with keys see of each other: `python examples/keys.py ALICE BOB`.

The keys are those of two tenants, as `preble keys create --name alice --tenant acme` prints them
(`keys.sh` makes both, on an api that is not open).
"""

import os
import sys

import httpx2

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
ALICE, BOB = sys.argv[1:]


def asking(key: str) -> httpx2.Client:
    """A client with a key."""
    return httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {key}"}, timeout=60)


with asking(ALICE) as alice, asking(BOB) as bob:
    body = {"prompt": "A secret of our own. " * 40, "sampling_params": {"max_new_tokens": 4}}
    mine = alice.post("/v1/jobs", json=body).raise_for_status().json()["urls"]["self"]
    alice.get(mine, headers={"Prefer": "wait=30"})
    for name, client in (("alice", alice), ("bob", bob)):
        print(f"{name} asks for alice's job: {client.get(mine).status_code}")

    # Who asks the same is not told, by a hit, that it was asked before.
    for name, client in (("alice", alice), ("bob", bob)):
        path = client.post("/v1/jobs", json=body).raise_for_status().json()["urls"]["self"]
        job = client.get(path, headers={"Prefer": "wait=30"}).json()
        print(f"{name} asks it again: {job['result']['usage']['cached_tokens']} tokens cached")
