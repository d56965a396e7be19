"""A file's bytes as an answer: all, or those of one range, from a file that is opened first.

So a file that was deleted since it was found is answered as one that is not there, and one that
is deleted while it is read is read to its end.
"""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from preble_api.errors import HttpError
from preble_api.files.off_loop import in_thread
from preble_api.files.store import StoredFile, no_such_file

PIECE_BYTES: Final = 256 * 1024
"""Read and sent at once."""

_RANGE: Final = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.IGNORECASE)


class FileContent(StreamingResponse):
    """A file's bytes as they are: no browser takes them for anything else.

    One range is served. What is no range of bytes, or several, is ignored, as HTTP allows.

    Args:
        file: As it was found.
        headers: Of the request, by lower-case names.

    Raises:
        HttpError: If a range begins after the file's end (416).
    """

    media_type = "application/octet-stream"

    def __init__(self, file: StoredFile, headers: Mapping[str, str]) -> None:
        self._path, size, tag = file.content, file.meta.bytes, f'"{file.meta.id}"'
        # Content never changes: whoever has another part of it may go on.
        is_wanted = headers.get("if-range", tag) == tag
        asked = _asked(headers.get("range", ""), size) if is_wanted else None
        self._bytes = range(size) if asked is None else asked
        own = {
            "accept-ranges": "bytes",
            "content-length": str(len(self._bytes)),
            "etag": tag,
            "x-content-type-options": "nosniff",
        }
        if asked is not None:
            own["content-range"] = f"bytes {self._bytes.start}-{self._bytes.stop - 1}/{size}"
        status = HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT
        super().__init__((), status, own)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises: HttpError if it is gone (404), as long as nothing was sent."""
        with await in_thread(_opened, self._path) as file:
            self.body_iterator = iterate_in_threadpool(_pieces(file, self._bytes))
            await super().__call__(scope, receive, send)


def _asked(header: str, size: int) -> range | None:
    """Offsets of the bytes that `Range` asks for; None if it says no range."""
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(size - int(suffix), 0)
    offsets = range(start, min(int(last) + 1, size) if last else size)
    if not offsets:
        raise _not_satisfiable(size)
    return offsets


def _not_satisfiable(size: int) -> HttpError:
    return HttpError(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range_not_satisfiable",
        f"Range: the file has {size} bytes, and none of those",
        headers={"content-range": f"bytes */{size}"},
    )


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise no_such_file() from None


def _pieces(file: BinaryIO, offsets: range) -> Iterator[bytes]:
    file.seek(offsets.start)
    left = len(offsets)
    while left and (piece := file.read(min(left, PIECE_BYTES))):
        left -= len(piece)
        yield piece
