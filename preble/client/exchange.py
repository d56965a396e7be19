"""What a client asks and is answered, apart from how it is sent.

A *program* is a generator that yields requests and is sent how each ended. So what is decided,
which request comes next, after which pause, what an answer means, stands once, without I/O;
`Client` and `AsyncClient` run the same programs, each in its own way.
"""

from collections.abc import Generator, Iterable, Mapping
from typing import Final, TypeVar

import httpx2
import msgspec

from preble.client.errors import JobUnknown, RequestRefused, UnexpectedReply
from preble.client.retries import Outcome
from preble.errors import PrebleError

JSON: Final = "application/json"

_GONE: Final = frozenset({404, 410})

T = TypeVar("T")


class Exchange(msgspec.Struct, frozen=True):
    """One attempt to be made.

    Args:
        method: Of HTTP.
        path: With its query.
        body: None for none; what is no bytes is iterated anew for each attempt.
        headers: Besides those of every request.
        wait_s: How long the api may take to answer, beyond the usual.
        pause_s: To let pass before.
    """

    method: str
    path: str
    body: bytes | Iterable[bytes] | None = None
    headers: Mapping[str, str] = {}
    wait_s: float = 0.0
    pause_s: float = 0.0


Program = Generator[Exchange, Outcome, T]


class _ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    code: str | None = None
    param: str | None = None


class _Problem(msgspec.Struct, frozen=True):
    error: _ErrorDetail


def refusal(reply: httpx2.Response) -> PrebleError:
    """The error that an answer stands for which is no success; its body has been read."""
    try:
        detail = msgspec.json.decode(reply.content, type=_Problem).error
    except msgspec.DecodeError:
        return UnexpectedReply(f"{reply.url} answered {reply.status_code}, and not as Preble does")
    kind = JobUnknown if reply.status_code in _GONE else RequestRefused
    return kind(
        detail.message, status=reply.status_code, code=detail.code or "", field=detail.param
    )


def decoded(reply: httpx2.Response, kind: type[T]) -> T:
    """What an answer says. Raises: UnexpectedReply."""
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except msgspec.DecodeError as error:
        msg = f"{reply.url} answered, but not as Preble does: {error}"
        raise UnexpectedReply(msg) from None
