"""Bodies of OpenAI's routes into structs, and msgspec's errors into ours, naming the field."""

import re
from typing import Final, TypeVar

import msgspec

from preble.errors import InvalidJob
from preble_api.errors import HttpError
from preble_api.openai.fields import not_offered
from preble_api.parsing import WRONG_QUEUE, decode_json
from preble_api.sampling_schemas import NO_TOP_K

_T = TypeVar("_T")

_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")
_OTHER_KIND: Final = re.compile(r"Invalid enum value '(.*)'", re.DOTALL)
_LONGEST_PATH: Final = 200
_LONGEST_MESSAGE: Final = 200


def parse_body(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """A body as what the decoder makes of it.

    Raises:
        HttpError: If the body is not JSON, or has a part of a kind that is not offered.
        InvalidJob: If a value is wrong.
    """
    return decode_json(decoder, body, _invalid)


def _invalid(error: str) -> InvalidJob:
    """`Expected … - at `$.messages[0].role`` becomes that field and what was expected.

    Raises: HttpError for kinds of messages and parts that exist, but not here.
    """
    what, *where = _PLACE.split(error, maxsplit=1)
    field = "".join(where).strip("`.")
    if unknown := _UNKNOWN.match(what):
        return InvalidJob(_below(field, unknown[1]), "is not a field that is known here")
    if missing := _MISSING.match(what):
        return InvalidJob(_below(field, missing[1]), "is required")
    if what == NO_TOP_K:
        return InvalidJob("top_k", what)
    if (kind := _OTHER_KIND.match(what)) and field.rpartition(".")[2] in {"type", "role"}:
        raise _other_kind(field, kind[1])
    wrong = WRONG_QUEUE.get(field, what[:1].lower() + what[1:_LONGEST_MESSAGE])
    return InvalidJob(field, wrong)


def _below(field: str, name: str) -> str:
    return f"{field}.{name}".strip(".")[:_LONGEST_PATH]


def _other_kind(field: str, kind: str) -> HttpError:
    return not_offered(field, f"`{kind[:_LONGEST_MESSAGE]}` is not offered here, only text is")
