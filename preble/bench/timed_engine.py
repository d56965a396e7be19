"""An engine that notes when it makes each token: SGLang's HTTP, without a model, on loopback.

It serves one benchmark's worker (`PREBLE_ENGINE=http`), in the process that also reads the
streams, so that both ends are timed by one clock.
"""

import asyncio
import time
from collections import defaultdict
from types import TracebackType
from typing import Final, Self

import msgspec

TOKEN: Final = 300
"""All that it ever says; its text does not matter."""

_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_PAGES: Final = {
    "/model_info": {"is_generation": True}, "/server_info": {}, "/health_generate": {},
    "/abort_request": {},
}  # fmt: skip

_encode: Final = msgspec.json.Encoder().encode


class _Sampling(msgspec.Struct):
    max_new_tokens: int = 1
    stream_interval: int = 1


class _Asked(msgspec.Struct):
    input_ids: list[int] = msgspec.field(default_factory=list[int])
    sampling_params: _Sampling = msgspec.field(default_factory=_Sampling)


class TimedEngine:
    """One server; `async with` runs it.

    Args:
        token_s: Between two tokens of a request.
    """

    def __init__(self, *, token_s: float) -> None:
        self.token_s = token_s
        self.made_at_s: defaultdict[int, list[float]] = defaultdict(list)
        """When each token was made, by the first token of its prompt."""
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """End all connections."""
        self._server.close()
        for task in self._connections:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path, body = await _read_request(reader)
                if path == "/generate":
                    await self._generate(msgspec.json.decode(body, type=_Asked), writer)
                else:
                    _write_page(path, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    async def _generate(self, asked: _Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(_STREAM_HEAD)
        made = self.made_at_s[asked.input_ids[0]]
        tokens, interval = (
            asked.sampling_params.max_new_tokens,
            asked.sampling_params.stream_interval,
        )
        for number in range(1, tokens + 1):
            await asyncio.sleep(self.token_s)
            made.append(time.perf_counter())
            if number in {1, tokens} or number % interval == 0:
                writer.write(_chunk(_encode(_event(number, is_last=number == tokens))))
        writer.write(_chunk(b"[DONE]") + b"0\r\n\r\n")


def _event(number: int, *, is_last: bool) -> dict[str, object]:
    meta_info = {"finish_reason": {"type": "length"} if is_last else None, "cached_tokens": 0}
    return {"text": "x" * number, "output_ids": [TOKEN] * number, "meta_info": meta_info}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def _write_page(path: str, writer: asyncio.StreamWriter) -> None:
    body = _encode(_PAGES.get(path, {}))
    status = b"200 OK" if path in _PAGES else b"404 Not Found"
    writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Path and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request_line, *lines = head.split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return request_line.split()[1], await reader.readexactly(int(fields.get("content-length", 0)))
