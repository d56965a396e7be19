"""The body of a `/generate` into a request, and msgspec's errors into ours."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from preble.errors import InvalidJob
from preble_api.generate_schemas import GenerateRequest, require_offered
from preble_api.parsing import WRONG_QUEUE, decode_json
from preble_api.schemas import JobPriority, JobRequest, Tenant

ONE_PROMPT: Final = "one prompt a request; send a list to /v1/jobs"

QUEUE_HEADERS: Final = {"priority": "X-Preble-Priority", "tenant": "X-Preble-Tenant"}
"""Where a request says what SGLang's format has no field for."""

_DECODER: Final = msgspec.json.Decoder(GenerateRequest)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_LIST: Final = re.compile(r"(text|rid|sampling_params|input_ids\[\d+\])?")
"""Where SGLang takes several requests in one: the body itself, or one of its fields."""
_LONGEST: Final = 200


def parse_generate(body: bytes) -> GenerateRequest:
    """One request.

    Raises:
        HttpError: If the body is not JSON.
        InvalidJob: If a field is wrong or not offered, naming it.
    """
    request = decode_json(_DECODER, body, _invalid)
    require_offered(request)
    return request


class QueueChoice(msgspec.Struct, frozen=True):
    """Which ingress queue a job waits in."""

    priority: JobPriority = "normal"
    tenant: Tenant | UnsetType = UNSET


def queue_of(headers: Mapping[str, str]) -> QueueChoice:
    """The queue that a request's headers choose. Raises: InvalidJob, naming the header."""
    given = {field: headers[name] for field, name in QUEUE_HEADERS.items() if name in headers}
    try:
        return msgspec.convert(given, QueueChoice)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("$.")[2].strip("`")
        raise InvalidJob(QUEUE_HEADERS[field], WRONG_QUEUE[field]) from None


def job_of(request: GenerateRequest, queue: QueueChoice) -> JobRequest:
    """The job that a request asks for. Raises: InvalidJob if it has no prompt."""
    ids = request.input_ids or None  # the original's clients send both, with empty ids
    if ids is None and request.text is None:
        raise InvalidJob("text", "give `text` or `input_ids`")
    text = request.text if ids is None else None
    tenant = None if isinstance(queue.tenant, UnsetType) else queue.tenant
    return JobRequest(
        prompt=text, input_ids=ids, sampling_params=request.sampling_params,
        priority=queue.priority, tenant=tenant, cache_salt=request.cache_salt,
    )  # fmt: skip


def _invalid(error: str) -> InvalidJob:
    """`Expected … - at `$.text`` becomes field `text` and what was expected."""
    what, _, where = error.partition(" - at `$")
    field = where.strip(".`")
    if what.endswith("got `array`") and _LIST.fullmatch(field):
        return InvalidJob(field.partition("[")[0], ONE_PROMPT)
    if unknown := _UNKNOWN.match(what):
        path = f"{field}.{unknown[1]}".strip(".")
        return InvalidJob(path[:_LONGEST], "is not a field that is known here")
    return InvalidJob(field, what[:1].lower() + what[1:_LONGEST])
