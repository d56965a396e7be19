"""What is told of a job's end: an event as OpenAI's clients know it."""

from hashlib import sha256
from typing import Final, Literal

import msgspec

from preble.broker.webhooks import DueWebhook
from preble.messages import JobState, JobView
from preble_api.openai.responses import ended_status, response_id_of

_ID_DIGITS: Final = 32


class Subject(msgspec.Struct, frozen=True):
    """What ended."""

    id: str


class Event(msgspec.Struct, frozen=True):
    """Something that happened, once; at every attempt the same."""

    id: str
    type: str
    created_at: int
    data: Subject
    object: Literal["event"] = "event"


def event_of(due: DueWebhook, view: JobView | None) -> Event:
    """The event of a job's end.

    Args:
        due: The webhook.
        view: The job, if its result is still there; it tells an incomplete response.
    """
    kind = due.webhook.kind
    # A job that was retried ends again; a batch ends once, and may be told of again.
    seed = f"{due.job_id}:{due.state}" if kind == "batch" else f"{due.job_id}:{due.ended_at_s:.3f}"
    event_id = f"evt_{sha256(seed.encode()).hexdigest()[:_ID_DIGITS]}"
    if kind != "response":
        return Event(event_id, f"{kind}.{due.state}", int(due.ended_at_s), Subject(due.job_id))
    status = ended_status(view if view and view.state is due.state else None, due.state)
    subject = Subject(response_id_of(due.job_id))
    return Event(event_id, f"response.{status}", int(due.ended_at_s), subject)


def needs_view(due: DueWebhook) -> bool:
    """Whether the event says more than the job's state."""
    return due.webhook.kind == "response" and due.state is JobState.COMPLETED
