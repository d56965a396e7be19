"""Submit many jobs at once, under a name that makes the request safe to repeat, and list them."""

import os
import uuid

import httpx2

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any

TENANT = "acme"
COUNTRIES = ("France", "Italy", "Spain", "Portugal", "Greece")

jobs = [
    {"prompt": f"The capital of {country} is", "priority": "batch", "tenant": TENANT}
    for country in COUNTRIES
]
with httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
    # Accepted whole or not at all. After a timeout the same request finds the same jobs.
    named = {"Idempotency-Key": f"capitals-{uuid.uuid4()}"}
    first, again = (
        client.post("/v1/jobs", json={"jobs": jobs}, headers=named).raise_for_status().json()
        for _ in range(2)
    )
    assert first == again
    ids = [job["id"] for job in first["data"]]

    for job_id, country in zip(ids, COUNTRIES, strict=True):
        job = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}).json()
        print(f"{country}: {job['status']}")

    # Page by page, the newest first; a page may be short, or empty, while more follow.
    query: dict[str, str | int] = {"tenant": TENANT, "status": "completed", "limit": 2}
    found: list[str] = []
    while True:
        page = client.get("/v1/jobs", params=query).raise_for_status().json()
        found += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["next"]
    print(f"{len(found)} jobs of {TENANT} completed so far")
    assert set(ids) <= set(found)
