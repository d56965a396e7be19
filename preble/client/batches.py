"""Files and batches of an api, in OpenAI's forms."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from preble.client.exchange import JSON, Exchange, decoded
from preble.client.sync import Client

ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})

_CHUNK_BYTES: Final = 1024 * 1024


class Counts(msgspec.Struct, frozen=True):
    """Lines of a batch."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class BatchUsage(msgspec.Struct, frozen=True):
    """Tokens of the lines that were answered."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _Details = _Details()


class LineProblem(msgspec.Struct, frozen=True):
    """What is wrong with a line."""

    message: str
    line: int | None = None


class _Problems(msgspec.Struct, frozen=True):
    data: list[LineProblem] = []


class BatchStatus(msgspec.Struct, frozen=True):
    """A batch as it stands."""

    id: str
    status: str
    request_counts: Counts = Counts()
    usage: BatchUsage | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Problems | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is done."""
        return self.status in ENDED


class _Made(msgspec.Struct, frozen=True):
    id: str


class Batches:
    """The files and batches that a client can reach.

    Args:
        client: Of the api.
    """

    def __init__(self, client: Client) -> None:
        self._shell = client.shell

    def upload(self, path: Path, name: str) -> str:
        """A file for a batch. Returns: its id. Raises: RequestRefused, ServerUnreachable."""
        form = _Form(path, name)
        reply = self._send(Exchange("POST", "/v1/files", form, form.headers))
        return decoded(reply, _Made).id

    def create(self, fields: dict[str, str]) -> BatchStatus:
        """Let a batch begin. Raises: RequestRefused, ServerUnreachable."""
        body = msgspec.json.encode(fields)
        return self._batch(Exchange("POST", "/v1/batches", body, {"Content-Type": JSON}))

    def show(self, batch_id: str) -> BatchStatus:
        """A batch as it stands. Raises: RequestRefused, ServerUnreachable."""
        return self._batch(Exchange("GET", f"/v1/batches/{batch_id}"))

    def cancel(self, batch_id: str) -> BatchStatus:
        """Let a batch end; what was answered is kept. Raises: RequestRefused, ServerUnreachable."""
        return self._batch(Exchange("POST", f"/v1/batches/{batch_id}/cancel"))

    def save(self, file_id: str, path: Path) -> None:
        """Write a file of the api to a new one here. Raises: RequestRefused, ServerUnreachable."""
        draft = path.with_name(f"{path.name}.new")
        with draft.open("wb") as file:
            for chunk in self._shell.download(f"/v1/files/{file_id}/content"):
                file.write(chunk)
        draft.replace(path)

    def _batch(self, exchange: Exchange) -> BatchStatus:
        return decoded(self._send(exchange), BatchStatus)

    def _send(self, exchange: Exchange) -> httpx2.Response:
        return self._shell.run(self._shell.attempts.ask(exchange))


class _Form:
    """A multipart form with a file, read as it is sent."""

    def __init__(self, path: Path, name: str) -> None:
        boundary = secrets.token_hex(16)
        safe = name.replace('"', "_").replace("\r", "_").replace("\n", "_")
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._path = path
        size = len(self._head) + path.stat().st_size + len(self._tail)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(size),
        }

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with self._path.open("rb") as file:
            while chunk := os.read(file.fileno(), _CHUNK_BYTES):
                yield chunk
        yield self._tail
