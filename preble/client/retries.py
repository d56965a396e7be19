"""When a request is tried again, and after which pause. Pure."""

from typing import Final

import httpx2

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
LONGEST_RETRY_AFTER_S: Final = 120.0

_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

Outcome = httpx2.Response | httpx2.TransportError
"""How one attempt ended."""


def may_try_again(outcome: Outcome) -> bool:
    """Whether another attempt makes sense."""
    return not isinstance(outcome, httpx2.Response) or outcome.status_code in _TRY_AGAIN


def may_have_acted(outcome: Outcome) -> bool:
    """Whether the api may have done what was asked, though it did not say so.

    A gateway's 502 and 504 leave that open, and so does a 503: the queue may have taken what it
    could not confirm.
    """
    if isinstance(outcome, httpx2.Response):
        return outcome.is_server_error
    return not isinstance(outcome, _NOT_SENT)


def retry_after_s(outcome: Outcome) -> float | None:
    """Seconds that the Retry-After header asks for; its form as a date is not used."""
    if not isinstance(outcome, httpx2.Response):
        return None
    value = outcome.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None


def retry_pause_s(failures: int, asked_s: float | None, *, jitter: float) -> float:
    """Seconds to wait after so many failures in a row.

    Half of the pause is fixed and half is chance, so that clients that failed together do
    not come back together.

    Args:
        failures: At least 1.
        asked_s: What the api asked for, if it did; less is never waited.
        jitter: Chance, in [0, 1).
    """
    pause_s = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE_S)
    pause_s *= 0.5 + jitter / 2
    return max(pause_s, min(asked_s or 0.0, LONGEST_RETRY_AFTER_S))
