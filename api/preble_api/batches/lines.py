"""One line of an input, output or error file: what it says, and what is read back from it."""

from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from preble_api.batches.schemas import BatchError, BatchUsage, InputTokens
from preble_api.errors import HttpError, error_detail
from preble_api.schemas import ErrorDetail

MAX_CUSTOM_ID_CHARS: Final = 512


class InputLine(msgspec.Struct, frozen=True):
    """One request of a batch. Fields that are not known are ignored, as by OpenAI."""

    custom_id: Annotated[str, Meta(min_length=1, max_length=MAX_CUSTOM_ID_CHARS)]
    method: str
    url: str
    body: msgspec.Raw


class LineError(msgspec.Struct, frozen=True):
    """Why a line has no answer."""

    code: str
    message: str


class LineResponse(msgspec.Struct, frozen=True):
    """The answer that the line's own route would have given."""

    status_code: int
    request_id: str
    body: Any


class ResultLine(msgspec.Struct, frozen=True):
    """A line of an output or error file."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of an answer that is no success."""

    error: ErrorDetail


class _InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class _LineUsage(msgspec.Struct, frozen=True):
    """The usage of an answer in either dialect."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _InputDetails | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _InputDetails | None = None


class _Body(msgspec.Struct, frozen=True):
    usage: _LineUsage | None = None


class _Response(msgspec.Struct, frozen=True):
    body: _Body


class _Written(msgspec.Struct, frozen=True):
    """What is read back of a result line."""

    id: str
    response: _Response | None = None
    error: LineError | None = None


_encode: Final = msgspec.json.Encoder().encode
_INPUT: Final = msgspec.json.Decoder(InputLine)
_WRITTEN: Final = msgspec.json.Decoder(_Written)


def parse_line(line: bytes) -> InputLine:
    """A line of an input file. Raises: msgspec.DecodeError, UnicodeDecodeError."""
    return _INPUT.decode(line)


def result_id(batch_id: str, number: int) -> str:
    """Id of a result line; says which line of the input it answers."""
    return f"batch_req_{batch_id.removeprefix('batch_')}_{number}"


def completed_line(id_: str, custom_id: str, request_id: str, body: msgspec.Struct) -> bytes:
    """The line of an answer."""
    return _line(ResultLine(id_, custom_id, LineResponse(HTTPStatus.OK, request_id, body), None))


def refused_line(id_: str, custom_id: str, request_id: str, error: HttpError) -> bytes:
    """The line of a request whose route would have answered with an error."""
    body = ErrorBody(error_detail(error))
    response = LineResponse(error.status, request_id, body)
    return _line(ResultLine(id_, custom_id, response, LineError(error.code, str(error))))


def unanswered_line(id_: str, custom_id: str, error: LineError) -> bytes:
    """The line of a request that was not answered at all."""
    return _line(ResultLine(id_, custom_id, None, error))


def _line(result: ResultLine) -> bytes:
    # JSON escapes line breaks, so a line of JSON is a line of the file.
    return _encode(result) + b"\n"


class Written(msgspec.Struct, frozen=True):
    """What a result line says of its request."""

    number: int
    usage: BatchUsage | None
    error: LineError | None


def read_written(line: bytes) -> Written:
    """A result line as `tally` counts it. Raises: msgspec.DecodeError if it is none."""
    written = _WRITTEN.decode(line)
    number = int(written.id.rpartition("_")[2])
    usage = written.response.body.usage if written.response else None
    return Written(number, _usage(usage) if usage else None, written.error)


def _usage(usage: _LineUsage) -> BatchUsage:
    input_tokens = usage.prompt_tokens + usage.input_tokens
    output_tokens = usage.completion_tokens + usage.output_tokens
    details = usage.prompt_tokens_details or usage.input_tokens_details or _InputDetails()
    cached = InputTokens(details.cached_tokens)
    return BatchUsage(input_tokens, output_tokens, input_tokens + output_tokens, cached)


def line_error(number: int, error: HttpError) -> BatchError:
    """An error of the input file, at its line."""
    return BatchError(error.code, str(error), number, error.param)
