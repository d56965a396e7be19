"""The body of a `/generate` into a request, and msgspec's errors into ours."""

import re
from typing import Final

import msgspec

from preble.errors import InvalidJob
from preble_api.generate_schemas import GenerateRequest, require_offered
from preble_api.parsing import decode_json
from preble_api.schemas import JobRequest

ONE_PROMPT: Final = "one prompt a request; send a list to /v1/jobs"

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


def job_of(request: GenerateRequest) -> JobRequest:
    """The job that a request asks for. Raises: InvalidJob if it has no prompt."""
    ids = request.input_ids or None  # the original's clients send both, with empty ids
    if ids is None and request.text is None:
        raise InvalidJob("text", "give `text` or `input_ids`")
    text = request.text if ids is None else None
    return JobRequest(prompt=text, input_ids=ids, sampling_params=request.sampling_params)


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
