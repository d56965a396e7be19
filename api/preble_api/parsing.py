"""Bodies into job requests, URLs into queries, and msgspec's errors into ours, naming the field."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec

from preble.errors import InvalidJob
from preble_api.errors import HttpError
from preble_api.sampling_schemas import NO_TOP_K
from preble_api.schemas import (
    JOBS_ALONE,
    NO_CACHE_SALT,
    NO_KEY,
    NO_ORDER,
    NO_PRIORITY,
    NO_STATUS,
    NO_TENANT,
    ONE_PROMPT,
    Body,
    Envelope,
    JobRequest,
)

_T = TypeVar("_T")

_DECODER: Final[msgspec.json.Decoder[Envelope | list[JobRequest]]] = msgspec.json.Decoder(Body)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")
_NAMES: Final = {ONE_PROMPT: "prompt", NO_TOP_K: "top_k"}
WRONG_QUEUE: Final = {
    "priority": NO_PRIORITY,
    "tenant": NO_TENANT,
    "cache_salt": NO_CACHE_SALT,
    "idempotency_key": NO_KEY,
}
"""What would be right in the fields that say where a job waits, and what it shares."""

_WRONG_PARAMETER: Final = {"status": NO_STATUS, "tenant": NO_TENANT, "order": NO_ORDER}

_LONGEST_NAME: Final = 64
"""Characters of a field name, which may be the client's own, that are repeated to it."""
_LONGEST_MESSAGE: Final = 200

MOST_COMMAS: Final = 4 * 1024 * 1024
"""In a body, so that decoding token ids does not stop all others for long: a tenth of a second."""

MOST_STRINGS: Final = 256 * 1024
"""In a body, the names of fields among them; likewise, of messages and their parts."""


def parse(body: bytes) -> JobRequest | Sequence[JobRequest]:
    """One job, or the jobs of a list.

    Raises:
        HttpError: If the body is not JSON.
        InvalidJob: If a field is wrong; of a list, named as in `jobs[3].prompt`.

    Cost: about 4 microseconds a kilobyte of ids.
    """
    parsed = decode_json(_DECODER, body, wrong_field)
    if isinstance(parsed, list):
        return parsed
    return parsed if parsed.jobs is None else parsed.jobs


def decode_json(
    decoder: msgspec.json.Decoder[_T], body: bytes, explain: Callable[[str], InvalidJob]
) -> _T:
    """A body as what the decoder makes of it.

    Args:
        decoder: Of the type wanted.
        body: As it came.
        explain: Makes of msgspec's words on a wrong value an error that names the field.

    Raises:
        HttpError: If the body is not JSON, has too many values, or is nested too deeply.
        InvalidJob: If a value is wrong.
    """
    require_few_values(body, "body")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the body is not JSON: {error}"
        raise HttpError(HTTPStatus.BAD_REQUEST, "invalid_json", message) from None


def require_few_values(json: bytes, name: str) -> None:
    """Refuse what would be many small values: decoding holds the interpreter all the while.

    Args:
        json: To be decoded.
        name: What to call it.

    Raises:
        HttpError: 413.

    Cost: a few milliseconds for the largest body.
    """
    # A quote within a string has a backslash before it.
    strings = (json.count(b'"') - json.count(b'\\"')) // 2
    for number, most, what in (
        (json.count(b","), MOST_COMMAS, "commas"), (strings, MOST_STRINGS, "strings"),
    ):  # fmt: skip
        if number > most:
            message = (
                f"the {name} has {number} {what}, more than {most}; send it as several requests"
            )
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)


def parse_query(parameters: Iterable[tuple[str, str]], kind: type[_T]) -> _T:
    """The parameters of a URL.

    Raises:
        InvalidJob: If one is wrong, unknown, or given twice, naming it.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise InvalidJob(name[:_LONGEST_NAME], "is given twice")
        given[name] = value
    return convert_fields(given, kind)


def convert_fields(given: Mapping[str, object], kind: type[_T]) -> _T:
    """Texts by name, perhaps nested, as what they stand for.

    Raises:
        InvalidJob: If one is wrong or unknown, naming it.
    """
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        wrong = wrong_field(str(error))
        raise InvalidJob(wrong.field, _WRONG_PARAMETER.get(wrong.field, str(wrong))) from None


def wrong_field(error: str) -> InvalidJob:
    """`Expected … - at `$[3].prompt`` becomes field `jobs[3].prompt` and what was expected."""
    what, at, where = error.rpartition(" - at `$")
    if not at:
        # Without a path: the body as a whole, and its only list is the list of jobs.
        what, where = error, ".jobs" if "of length" in error or error == JOBS_ALONE else ""
    name, message = _name_and_message(what)
    path = where.removesuffix("`") + (f".{name}" if name else "")
    # A bare list is reported as the `jobs` that it is.
    field = f"jobs{path}" if path.startswith("[") else path.removeprefix(".")
    return InvalidJob(field, WRONG_QUEUE.get(field.rpartition(".")[2], message))


def _name_and_message(what: str) -> tuple[str, str]:
    """The field below the reported path that is meant, if any, and what to say of it."""
    if unknown := _UNKNOWN.match(what):
        return unknown[1][:_LONGEST_NAME], "is not a field that is known here"
    if missing := _MISSING.match(what):
        return missing[1], "is required"
    if name := _NAMES.get(what):
        return name, what
    if what.endswith("of length >= 1"):
        return "", "must not be empty"
    return "", what[:1].lower() + what[1:_LONGEST_MESSAGE]
