"""Webhooks as clients ask for them and see them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from preble.messages import WebhookStatus
from preble_api.webhooks.targets import MAX_URL_CHARS, target_of


class WebhookRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to be told that the job has ended."""

    url: Annotated[
        str,
        Meta(
            min_length=1, max_length=MAX_URL_CHARS,
            description="Is POSTed a signed event; `https://` or `http://`, of a public address.",
            examples=["https://app.example.com/hooks/preble"],
        ),
    ]  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse what no bound expresses. Raises: ValueError."""
        target_of(self.url)


class WebhookState(msgspec.Struct, frozen=True):
    """How far telling is: `waiting` for the job's end, `pending`, and one of three ends."""

    status: WebhookStatus
    attempts: int
    last_error: Annotated[str, Meta(description="Why the last attempt failed, if it did.")]
