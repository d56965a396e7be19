"""An input file, line by line, into a plan or a list of errors, with memory for places only.

Nothing runs of a batch that has a wrong line. What only the tokenizer can tell, that a prompt is
too long, is told of each line when its turn comes.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from preble.errors import InvalidJob, PrebleError
from preble.messages import BlockKeys
from preble_api.batches.lines import InputLine, line_error, parse_line
from preble_api.batches.ordering import prefix_key, prefix_order
from preble_api.batches.plan import LinePlace
from preble_api.batches.schemas import MAX_ERRORS, MAX_LINES, BatchError, Order
from preble_api.errors import refusal
from preble_api.openai.asked import Asked
from preble_api.openai.endpoints import Endpoint
from preble_api.parsing import require_few_values

SLICE_BYTES: Final = 16 * 1024
"""Of input, looked at in one step: about two milliseconds, in which nobody else computes."""

MOST_BLANK_LINES: Final = MAX_LINES
"""Besides the others, so that newlines alone keep nobody busy."""

_LONGEST_MESSAGE: Final = 300

_log = logging.getLogger(__name__)


class _OfBatch(msgspec.Struct, frozen=True):
    """Fields of a body that are the batch's, for all of its lines."""

    priority: str | None = None
    tenant: str | None = None


class LineRules:
    """What every line of a batch must be.

    Args:
        path: Of the route that all lines ask for.
        endpoint: The same, as it reads bodies.
        model: Of the pool.
    """

    def __init__(self, path: str, endpoint: Endpoint, model: str) -> None:
        self._path = path
        self._endpoint = endpoint
        self._model = model

    def parse(self, line: bytes) -> tuple[InputLine, Asked]:
        """A line and what it asks for.

        Raises:
            InvalidJob: If a field is wrong, naming it.
            HttpError: If the body asks for what is not offered.
        """
        try:
            parsed = parse_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidJob("", f"is no request of a batch: {error}"[:_LONGEST_MESSAGE]) from None
        if parsed.method != "POST":
            raise InvalidJob("method", "must be `POST`")
        if parsed.url != self._path:
            raise InvalidJob("url", f"must be {self._path}, the endpoint of the batch")
        return parsed, self._body(bytes(parsed.body))

    def _body(self, body: bytes) -> Asked:
        asked = self._endpoint.parse(body)
        if asked.is_streamed:
            raise InvalidJob("stream", "a batch has no streams; leave it out")
        if asked.job.webhook is not None:
            raise InvalidJob("webhook", "a line of a batch has none; leave it out")
        if asked.job.model not in {None, self._model}:
            raise InvalidJob("model", f"the model here is {self._model}")
        return asked


class Validation:
    """Looks at an input file step by step.

    Args:
        path: Of the file.
        rules: For its lines.
        max_line_bytes: Of one line.
    """

    def __init__(self, path: Path, rules: LineRules, *, max_line_bytes: int) -> None:
        self._file = path.open("rb")
        self._rules = rules
        self._max_line_bytes = max_line_bytes
        self._places: list[LinePlace] = []
        self._keys: list[BlockKeys] = []
        self._lines_by_id: dict[str, int] = {}
        self._number = 0
        self._has_met_bug = False
        self.errors: list[BatchError] = []

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def step(self) -> bool:
        """Look at some lines. Returns: whether there are more to look at."""
        end = self._file.tell() + SLICE_BYTES
        while self._file.tell() < end:
            if not self._next_line():
                return False
        return True

    def ordered(self, order: Order) -> Iterator[LinePlace]:
        """The lines in the order in which they are to be run. Call it after all steps."""
        if order == "input":
            return iter(self._places)
        return (self._places[at] for at in prefix_order(self._keys))

    def _next_line(self) -> bool:
        """Look at one. Returns: whether to go on."""
        offset = self._file.tell()
        line = self._file.readline(self._max_line_bytes + 1)
        self._number += 1
        if not line:
            self._require_some()
            return False
        if len(line) > self._max_line_bytes:
            self._wrong("line_too_long", f"a line has at most {self._max_line_bytes} bytes")
            return False
        if not line.isspace():
            self._look_at(line, offset)
        if len(self._places) > MAX_LINES:
            self._wrong("too_many_lines", f"a batch has at most {MAX_LINES} lines")
            return False
        if self._number > MAX_LINES + MOST_BLANK_LINES:
            self._wrong("too_many_lines", f"a file has at most {MOST_BLANK_LINES} blank lines")
            return False
        return len(self.errors) < MAX_ERRORS

    def _look_at(self, line: bytes, offset: int) -> None:
        try:
            require_few_values(line, "line")
            parsed, asked = self._rules.parse(line)
            _refuse_fields_of_batch(parsed.body)
            key = prefix_key(asked.job)
        except PrebleError as error:
            self.errors.append(line_error(self._number, refusal(error)))
            return
        except Exception:  # noqa: BLE001  a bug is told at its line, like all else that is wrong
            self._not_read()
            return
        first = self._lines_by_id.setdefault(parsed.custom_id, self._number)
        if first != self._number:
            message = f"custom_id: line {first} has the same"
            self._wrong("duplicate_custom_id", message, param="custom_id")
        self._places.append(LinePlace(self._number, len(line), offset))
        self._keys.append(key)

    def _not_read(self) -> None:
        """A bug was met, which is logged once of a file."""
        if not self._has_met_bug:
            _log.exception("line %d of %s could not be read", self._number, self._file.name)
        self._has_met_bug = True
        self._wrong("internal_error", "reading this line failed, which is a bug in Preble")

    def _require_some(self) -> None:
        if not self._places and not self.errors:
            self._number = 1
            self._wrong("empty_file", "the file has no lines")

    def _wrong(self, code: str, message: str, *, param: str | None = None) -> None:
        self.errors.append(BatchError(code, message, self._number, param))


def _refuse_fields_of_batch(body: msgspec.Raw) -> None:
    """Refuse what is said once, of all lines. The body was found right before. Raises: InvalidJob.

    Here and not in `LineRules`, so that batches that older versions found valid go on.
    """
    given = msgspec.json.decode(body, type=_OfBatch)
    for name in given.__struct_fields__:
        if getattr(given, name) is not None:
            raise InvalidJob(name, "is the batch's, for all of its lines; leave it out")
