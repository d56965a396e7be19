"""The parts of a `multipart/form-data` body as they arrive, with constant memory.

python-multipart finds the boundaries and bounds the headers of a part. Here parts get their
names, small fields are gathered, and the bytes of the one file are handed on.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from preble_api.errors import HttpError

FILE_FIELD: Final = "file"
MAX_FIELDS: Final = 16
MAX_FIELD_BYTES: Final = 1_024
MAX_NAME_CHARS: Final = 255
FORM_BYTES: Final = 64 * 1024
"""All of a form but the file's bytes: what a body may have beyond the largest file."""

_MEDIA_TYPE: Final = b"multipart/form-data"


class FormReader:
    """One form: feed it, then read `fields` and `filename`.

    Args:
        content_type: Header of the request.
        on_file: Takes the file's bytes, in order.

    Raises:
        HttpError: If the request declares no form (415).
    """

    def __init__(self, content_type: str, on_file: Callable[[bytes], None]) -> None:
        media_type, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if media_type != _MEDIA_TYPE or not boundary:
            message = "send the file as `multipart/form-data` with a boundary"
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            raise HttpError(status, "unsupported_media_type", message)
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._on_file = on_file
        self._has_ended = False
        self._begin_part()
        self._parser = _parser_of(boundary, self)

    def feed(self, data: bytes) -> None:
        """Bytes of the body. Raises: HttpError (400) if they are no form, or too many fields."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _invalid(f"the body is no form: {error}") from None

    def end(self) -> None:
        """The body has ended. Raises: HttpError (400) if the form has not, or has no file."""
        if not self._has_ended:
            raise _invalid("the form breaks off before its end")
        if self.filename is None:
            raise _invalid("is required", param=FILE_FIELD)

    # What the parser calls.

    def on_part_begin(self) -> None:
        """A part begins with its headers."""
        self._begin_part()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's value."""
        self._value += data[start:end]

    def on_header_end(self) -> None:
        """A header is complete; the one that names the part is kept."""
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        """The part's content begins."""
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")
        if self._name == FILE_FIELD:
            self._begin_file(options.get(b"filename"))
        elif self._name in self.fields or len(self.fields) >= MAX_FIELDS:
            raise _invalid("is given twice, or there are too many", param=self._name)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the part's content."""
        if self._name == FILE_FIELD:
            self._on_file(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise _invalid(f"has more than {MAX_FIELD_BYTES} bytes", param=self._name)

    def on_part_end(self) -> None:
        """A part is complete."""
        if self._name != FILE_FIELD:
            self.fields[self._name] = self._value.decode(errors="replace")

    def on_end(self) -> None:
        """The form is complete."""
        self._has_ended = True

    def _begin_part(self) -> None:
        self._header, self._value, self._disposition, self._name = bytearray(), bytearray(), b"", ""

    def _begin_file(self, filename: bytes | None) -> None:
        if self.filename is not None:
            raise _invalid("is given twice", param=FILE_FIELD)
        name = (filename or b"").decode(errors="replace")
        # Only ever shown. What a terminal would obey has no place in it.
        self.filename = "".join(each for each in name if each.isprintable())[:MAX_NAME_CHARS]


def _parser_of(boundary: bytes, reader: FormReader) -> MultipartParser:
    return MultipartParser(
        boundary,
        {
            "on_part_begin": reader.on_part_begin,
            "on_header_field": reader.on_header_field,
            "on_header_value": reader.on_header_value,
            "on_header_end": reader.on_header_end,
            "on_headers_finished": reader.on_headers_finished,
            "on_part_data": reader.on_part_data,
            "on_part_end": reader.on_part_end,
            "on_end": reader.on_end,
        },
    )


def _invalid(message: str, *, param: str | None = None) -> HttpError:
    shown = param[:64] if param is not None else None
    text = f"{shown}: {message}" if shown else message
    return HttpError(HTTPStatus.BAD_REQUEST, "invalid_form", text, param=shown)
