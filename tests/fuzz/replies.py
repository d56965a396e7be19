"""What every reply must be: no error of ours, in the right form, in time."""

import json
from collections.abc import Iterator
from typing import Final

import msgspec
from fuzz.wire import LONGEST_S, Exchange, Reply

from preble_api.schemas import Problem

_PROBLEM: Final = "application/problem+json"
_JSON: Final = "application/json"
_FORMS: Final = (_JSON, "text/html", "text/plain; version=", "text/event-stream")
"""Of successes: jobs and probes, the documentation, metrics, streams."""

_SUCCESS: Final = range(200, 300)


def faults(exchange: Exchange) -> Iterator[str]:
    """What is wrong with what came back; nothing if all is well."""
    if exchange.seconds > LONGEST_S:
        yield f"took {exchange.seconds:.1f} s"
    if exchange.reply is not None:
        yield from _faults_of(exchange.reply, has_body=not exchange.shot.is_head)
    elif exchange.shot.is_owed and not exchange.shot.is_gone:
        yield f"no reply: {exchange.reason}"


def _faults_of(reply: Reply, *, has_body: bool) -> Iterator[str]:
    form = reply.headers.get("content-type", "none")
    if not reply.headers.get("x-request-id"):
        yield f"{reply.status} without a request id"
    if reply.status not in _SUCCESS:
        yield from _faults_of_problem(reply, form, has_body=has_body)
    elif not form.startswith(_FORMS):
        yield f"{reply.status} as {form}"
    elif form == _JSON and has_body and not _is_json(reply.body):
        yield f"{reply.status} is no JSON: {reply.body[:80]!r}"


def _faults_of_problem(reply: Reply, form: str, *, has_body: bool) -> Iterator[str]:
    if form != _PROBLEM:
        yield f"{reply.status} as {form}: {reply.body[:80]!r}"
        return
    try:
        problem = msgspec.json.decode(reply.body, type=Problem) if has_body else None
    except msgspec.DecodeError as error:
        yield f"{reply.status} is no problem: {error}"
        return
    if problem and (
        problem.status != reply.status
        or not problem.instance.endswith(reply.headers.get("x-request-id", "?"))
    ):
        yield f"{reply.status} contradicts itself: {reply.body[:200]!r}"
    if reply.status in {429, 503} and "retry-after" not in reply.headers:
        yield f"{reply.status} without Retry-After"
    if reply.status >= 500 and not (problem and problem.error.code == "queue_unavailable"):
        yield f"{reply.status}: {reply.body[:200]!r}"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def accepted_ids(exchange: Exchange) -> list[str]:
    """The jobs that a reply says were accepted."""
    reply = exchange.reply
    if reply is None or reply.status not in _SUCCESS:
        return []
    if job_ids := reply.headers.get("x-preble-job"):
        return job_ids.split(", ")
    if reply.status != 202:
        return []
    told = json.loads(reply.body)
    return [job["id"] for job in told.get("data", [told])]
