"""An api played by a class, behind which jobs end when they were looked at often enough."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx2

Body = dict[str, Any]


def job_reply(job_id: str, status: str = "completed", text: str = "four", **more: object) -> Body:
    """A job as the api shows it."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "cached_tokens": 2}
    result = {
        "text": text, "output_ids": [4], "finish_reason": "stop", "usage": usage,
        "ttft_s": 0.1, "engine_s": 0.2,
    }  # fmt: skip
    has_ended = status not in {"waiting", "assigned", "running"}
    return {
        "id": job_id, "status": status, "created_at": 1.0, "prompt_tokens": 5,
        "ended_at": 3.0 if has_ended else None, "result": result if status == "completed" else None,
    } | more  # fmt: skip


def problem(status: int, message: str = "no", **error: str) -> httpx2.Response:
    """An answer that is no success."""
    return httpx2.Response(status, json={"error": {"message": message, **error}})


class FakeApi:
    """Takes jobs, and ends each at its `ends_at_look`-th look.

    Args:
        ends_at_look: 1 for jobs that have ended when they are asked for first.
        refuses: Says why a job is refused, or nothing.
        ends_as: How a job ends: what differs from `job_reply`.
    """

    def __init__(
        self, *, ends_at_look: int = 1, refuses: Callable[[Body], str] = lambda _: "",
        ends_as: Callable[[Body], Body] = lambda _: {},
    ) -> None:  # fmt: skip
        self.ends_at_look = ends_at_look
        self._refuses = refuses
        self._ends_as = ends_as
        self.numbers = count()
        self.jobs: dict[str, Body] = {}
        self.looks: dict[str, int] = {}
        self.by_key: dict[str, str] = {}
        self.open: set[str] = set()
        self.most_open = 0
        self.calls: list[int] = []
        self.asked: list[list[str]] = []
        self.requests: list[httpx2.Request] = []

    @property
    def transport(self) -> httpx2.MockTransport:
        """For a client, sync or async."""
        return httpx2.MockTransport(self)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        path = request.url.path
        if request.method == "POST" and path == "/v1/jobs":
            return self._submit(json.loads(request.content))
        if path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": "m"}]})
        if path == "/v1/jobs/ended":
            return self._ended(request.url.params["ids"].split(","))
        return httpx2.Response(200, json=self._shown(path.split("/")[3]))

    def _submit(self, jobs: list[Body]) -> httpx2.Response:
        for place, job in enumerate(jobs):
            if why := self._refuses(job):
                return problem(400, why, code="invalid_value", param=f"jobs[{place}].prompt")
        self.calls.append(len(jobs))
        job_ids = [self._made(job) for job in jobs]
        self.most_open = max(self.most_open, len(self.open))
        return httpx2.Response(202, json={"data": [{"id": job_id} for job_id in job_ids]})

    def _made(self, job: Body) -> str:
        key = job.get("idempotency_key")
        if key in self.by_key:
            return self.by_key[key]
        job_id = f"job_{next(self.numbers)}"
        if key:
            self.by_key[key] = job_id
        self.jobs[job_id] = job
        self.open.add(job_id)
        return job_id

    def _ended(self, job_ids: list[str]) -> httpx2.Response:
        self.asked.append(job_ids)
        known = [self._looked_at(job_id) for job_id in job_ids if job_id in self.jobs]
        data = [job for job in known if job["ended_at"] is not None]
        missing = [job_id for job_id in job_ids if job_id not in self.jobs]
        return httpx2.Response(200, json={"data": data, "missing": missing})

    def _looked_at(self, job_id: str) -> Body:
        self.looks[job_id] = self.looks.get(job_id, 0) + 1
        if self.looks[job_id] >= self.ends_at_look:
            self.open.discard(job_id)
        return self._shown(job_id)

    def _shown(self, job_id: str) -> Body:
        if job_id in self.open:
            return job_reply(job_id, "running")
        job = self.jobs.get(job_id, {})
        text = f"answer to {job.get('prompt')}"
        return job_reply(job_id, **({"text": text} | self._ends_as(job)))
