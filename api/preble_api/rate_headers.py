"""What a tenant may still submit, in the headers that OpenAI's clients read.

ADMIT says it with its answer, so it costs no question; where tenants are not bound there is nothing
to say. `tell_allowance` notes it in a request's scope; `edge.py` writes it on the next answer.
"""

import math
from typing import Final

from starlette.types import Scope

from preble.broker.bounds import Allowance

_ALLOWANCE: Final = "preble.allowance"


def tell_allowance(scope: Scope, allowance: Allowance) -> None:
    """Have the answer to a request tell this. Changes: its scope."""
    scope[_ALLOWANCE] = allowance


def rate_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers of an answer; none for a request that submitted nothing. They count jobs."""
    allowance = scope.get(_ALLOWANCE)
    if not isinstance(allowance, Allowance):
        return []
    headers = [
        (b"x-ratelimit-limit-requests", b"%d" % allowance.most_jobs),
        (b"x-ratelimit-remaining-requests", b"%d" % allowance.left_jobs),
    ]
    if allowance.full_in_s is not None:
        reset = b"%ds" % math.ceil(allowance.full_in_s)
        headers.append((b"x-ratelimit-reset-requests", reset))
    return headers
