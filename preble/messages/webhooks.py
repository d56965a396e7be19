"""Who is to be told that a job has ended, and how far that is."""

from typing import Literal

import msgspec

WebhookKind = Literal["job", "response", "batch"]
"""As what its client knows the job, and the event speaks of it."""

WebhookStatus = Literal["waiting", "pending", "delivered", "failed", "refused"]
"""The job has not ended; it is to be told; it was told; nobody answered well until it was given up;
the address is none that may be told."""


class Webhook(msgspec.Struct, frozen=True, array_like=True):
    """What a client asks for with a job."""

    url: str
    kind: WebhookKind = "job"


class WebhookView(msgspec.Struct, frozen=True):
    """How a job's webhook stands."""

    status: WebhookStatus = "waiting"
    attempts: int = 0
    last_error: str = ""
