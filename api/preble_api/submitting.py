"""What every route that takes prompts does: refuse other media, admit, count."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from starlette.requests import Request

from preble.broker.bounds import Allowance
from preble.messages import Submission
from preble.metrics import ApiMetrics
from preble.prefix_order import by_prefix
from preble_api.admission import Admission
from preble_api.errors import HttpError
from preble_api.limits import let_go
from preble_api.rate_headers import tell_allowance

JSON: Final = "application/json"

_log = logging.getLogger(__name__)


def require_json(request: Request, what: str) -> None:
    """Only what a web page cannot send to a user's own loopback without asking him.

    Raises:
        HttpError: If the body, which holds `what`, is declared as anything else.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"send the {what} with `Content-Type: application/json`",
        )


async def admit_counted(
    admission: Admission, metrics: ApiMetrics, submissions: Sequence[Submission]
) -> Allowance | None:
    """Write jobs to the queue, those of priority `batch` ordered by prefix, and count them.

    Returns:
        What their tenant may still submit, where tenants are bound.

    Raises: as `Admission.admit`.
    """
    allowance = await admission.admit(_in_order(submissions))
    _log.debug("accepted job_ids=%s", [each.job_id for each in submissions])
    metrics.jobs_submitted.inc(len(submissions))
    tokens = sum(each.spec.prompt_tokens for each in submissions)
    metrics.prompt_tokens_submitted.inc(tokens)
    return allowance


async def admit_request(
    request: Request, admission: Admission, metrics: ApiMetrics, submissions: Sequence[Submission]
) -> None:
    """Admit the jobs of a request, whose answer will say what the tenant may still submit.

    Its body is dropped then.

    Raises: as `Admission.admit`.
    """
    allowance = await admit_counted(admission, metrics, submissions)
    let_go(request)
    if allowance is not None:
        tell_allowance(request.scope, allowance)


def _in_order(submissions: Sequence[Submission]) -> list[Submission]:
    """As they came, but for batch work, whose queues run best in the order of prefixes."""
    batch = [each for each in submissions if each.spec.priority == "batch"]
    others = [each for each in submissions if each.spec.priority != "batch"]
    return others + [batch[at] for at in by_prefix([each.block_keys for each in batch])]
