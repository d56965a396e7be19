"""The headers `X-Preble-Priority` and `X-Preble-Tenant`: where the jobs of a request wait.

They count over the fields of a body, so that a gateway may say for whom its clients ask.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from preble.errors import InvalidJob
from preble_api.parsing import WRONG_QUEUE
from preble_api.schemas import JobPriority, JobRequest, Tenant

QUEUE_HEADERS: Final = {"priority": "X-Preble-Priority", "tenant": "X-Preble-Tenant"}
"""Where a request names them, by field."""


class QueueChoice(msgspec.Struct, frozen=True):
    """Which ingress queue jobs wait in, as far as headers say so."""

    priority: JobPriority | UnsetType = UNSET
    tenant: Tenant | UnsetType = UNSET


def queue_of(headers: Mapping[str, str]) -> QueueChoice:
    """The queue that a request's headers choose. Raises: InvalidJob, naming the header."""
    given = {field: headers[name] for field, name in QUEUE_HEADERS.items() if name in headers}
    try:
        return msgspec.convert(given, QueueChoice)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("$.")[2].strip("`")
        raise InvalidJob(QUEUE_HEADERS[field], WRONG_QUEUE[field]) from None


def tenant_named(headers: Mapping[str, str]) -> str | None:
    """Whom a request's headers name, if anybody. Raises: InvalidJob, naming the header."""
    tenant = queue_of(headers).tenant
    return None if tenant is UNSET else tenant


def with_queue(request: Request, jobs: Iterable[JobRequest]) -> list[JobRequest]:
    """The jobs of a request, each in the queue that its headers choose.

    Raises:
        InvalidJob: If a header is wrong, naming it.
    """
    queue = queue_of(request.headers)
    chosen = {
        field: value for field, value in msgspec.structs.asdict(queue).items() if value is not UNSET
    }
    return [msgspec.structs.replace(job, **chosen) for job in jobs]
