"""Raw HTTP to the apis, one of them at random each time; everything goes into the log."""

import contextlib
from collections.abc import Sequence
from random import Random
from typing import Any, Final, Literal

import httpx2
from chaos.records import NO_ANSWER, ClientLog, Seen, Submitted
from chaos.workload import Batch

from preble.clock import unix_s
from preble.messages import JobState

ANSWER_S: Final = 6.0
"""That a client waits for an answer before it asks the other api."""
_CONNECTIONS: Final = 256


class ApiCalls:
    """What clients ask.

    Args:
        urls: Of the apis.
        log: Hears of all that is asked and answered.
        random: Picks the api.
    """

    def __init__(self, urls: Sequence[str], log: ClientLog, random: Random) -> None:
        self._urls = urls
        self._log = log
        self._random = random
        self._client = httpx2.AsyncClient(
            timeout=ANSWER_S, trust_env=False, limits=httpx2.Limits(max_connections=_CONNECTIONS)
        )

    async def close(self) -> None:
        """Release connections."""
        await self._client.aclose()

    async def submit(self, batch: Batch) -> Submitted:
        """Try once to submit a batch under its key."""
        url, asked_at_s = self._url(), unix_s()
        headers = {"Idempotency-Key": batch.key, "content-type": "application/json"}
        reply, error = await self._send("POST", f"{url}/v1/jobs", batch.body(), headers)
        body = _json(reply)
        said = Submitted(
            asked_at_s, unix_s(), batch.key, url, reply.status_code if reply else NO_ANSWER,
            job_ids=tuple(job["id"] for job in body.get("data", ())),
            retry_after_s=_retry_after_s(reply),
            code=error or body.get("error", {}).get("code", ""),
        )  # fmt: skip
        self._log.add(said)
        return said

    async def look(self, job_id: str) -> Seen:
        """See how a job stands."""
        return await self._see(job_id, "look")

    async def cancel(self, job_id: str) -> Seen:
        """Cancel a job."""
        return await self._see(job_id, "cancel")

    async def _see(self, job_id: str, asked: Literal["look", "cancel"]) -> Seen:
        url, asked_at_s = self._url(), unix_s()
        path = f"{url}/v1/jobs/{job_id}"
        if asked == "look":
            reply, error = await self._send("GET", path)
        else:
            reply, error = await self._send("POST", f"{path}/cancel")
        seen = _seen(asked_at_s, job_id, asked, url, reply, error)
        self._log.add(seen)
        return seen

    def _url(self) -> str:
        return self._random.choice(self._urls)

    async def _send(
        self,
        method: str,
        url: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[httpx2.Response | None, str]:
        try:
            return await self._client.request(method, url, content=content, headers=headers), ""
        except httpx2.TransportError as error:
            return None, type(error).__name__


def _seen(
    asked_at_s: float, job_id: str, asked: Literal["look", "cancel"], url: str,
    reply: httpx2.Response | None, error: str,
) -> Seen:  # fmt: skip
    body = _json(reply)
    if reply is None or reply.status_code != 200:
        status = reply.status_code if reply else NO_ANSWER
        code = error or body.get("error", {}).get("code", "")
        return Seen(asked_at_s, unix_s(), job_id, asked, url, status, code=code)
    result, failure = body["result"], body["error"]
    return Seen(
        asked_at_s, unix_s(), job_id, asked, url, reply.status_code,
        state=JobState(body["status"]), attempt=body["attempt"], created_at_s=body["created_at"],
        started_at_s=body["started_at"], ended_at_s=body["ended_at"],
        deadline_at_s=body["deadline_at"], engine_s=result["engine_s"] if result else None,
        code=failure["code"] if failure else "",
    )  # fmt: skip


def _retry_after_s(reply: httpx2.Response | None) -> float | None:
    return float(reply.headers["retry-after"]) if reply and "retry-after" in reply.headers else None


def _json(reply: httpx2.Response | None) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        return dict(reply.json()) if reply is not None else {}
    return {}
