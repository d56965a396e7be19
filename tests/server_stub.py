"""What stand-ins for engine servers share: HTTP on loopback, one request a connection.

A stand-in answers pages by path, keeps the bodies it was sent, and can be told what to answer
instead. It echoes the end of the prompt, and reports cached tokens by the rule of SGLang and
vLLM, for prompts that it has completed.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Self

Json = dict[str, object]

CHOSEN_LOGPROB = -9.0
"""Of each output token; the ids after it are likelier."""
Page = Mapping[str, object] | str | None
"""A reply: JSON, text as it is, or a 404."""


class ServerStub(ABC):
    """One server; `async with` runs it.

    Args:
        pages: Replies by path.
        page_size: For cached tokens.
    """

    generate_path = ""

    def __init__(self, pages: Mapping[str, Page], page_size: int) -> None:
        self.pages = dict(pages)
        self.requests: defaultdict[str, asyncio.Queue[Json]] = defaultdict(asyncio.Queue)
        """Bodies by path, as they come."""
        self.scripted: defaultdict[str, list[bytes]] = defaultdict(list)
        """Raw responses by path, to be given to the next requests instead."""
        self.go_on = asyncio.Event()
        """Clear it to hold each completion after its first event."""
        self.go_on.set()
        self.left = asyncio.Event()
        """Set when a client goes away before it has all of a completion."""
        self._page_size = page_size
        self._completed: list[list[int]] = []

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.go_on.set()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on each connection."""
        try:
            path, body = await read_request(reader)
            await self.answer(path, body, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(
        self, path: str, body: Json, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one request, and note that it came."""
        self.requests[path].put_nowait(body)
        if self.scripted[path]:
            writer.write(self.scripted[path].pop(0))
        elif path == self.generate_path:
            await self._generate(body, reader, writer)
        elif (page := self.pages.get(path)) is not None:
            content = page if isinstance(page, str) else json.dumps(page)
            writer.write(response(200, content.encode()))
        else:
            writer.write(response(404, b'{"detail": "Not Found"}'))
        await writer.drain()

    async def _generate(
        self, body: Json, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first, *rest = self.events(body)
        writer.write(STREAM_HEAD + chunk(first))
        await writer.drain()
        if await self._may_go_on(reader):
            writer.write(b"".join(map(chunk, rest)) + STREAM_TAIL)

    async def _may_go_on(self, reader: asyncio.StreamReader) -> bool:
        """Wait for leave to complete; False if the client goes away first."""
        going = asyncio.create_task(self.go_on.wait())
        leaving = asyncio.create_task(reader.read())
        await asyncio.wait({going, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (going, leaving):
            task.cancel()
        await asyncio.wait({going, leaving})
        if not self.go_on.is_set():
            self.left.set()
        return self.go_on.is_set()

    @abstractmethod
    def events(self, body: Json) -> list[Json]:
        """The events that answer a request, in the server's words."""

    def complete(self, prompt: list[int], num_output: int) -> tuple[list[int], int]:
        """Echo a prompt. Returns: the output, and how many tokens of the prompt were cached."""
        output = (prompt * num_output)[-num_output:]
        cached = self._cached_tokens(prompt)
        self._completed.append([*prompt, *output[:-1]])
        return output, cached

    def _cached_tokens(self, prompt: list[int]) -> int:
        longest = max((common_prefix(prompt, other) for other in self._completed), default=0)
        return min(longest, len(prompt) - 1) // self._page_size * self._page_size


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
)


def chunk(event: Json | str) -> bytes:
    """One event as one HTTP chunk."""
    data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    payload = f"data: {data}\n\n".encode()
    return f"{len(payload):x}\r\n".encode() + payload + b"\r\n"


STREAM_TAIL = chunk("[DONE]") + b"0\r\n\r\n"


def stream(*events: Json | str) -> bytes:
    """A whole streamed response."""
    return STREAM_HEAD + b"".join(map(chunk, events)) + STREAM_TAIL


def response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole response that is not streamed."""
    fields = {"content-length": len(body), "connection": "close"} | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


async def read_request(reader: asyncio.StreamReader) -> tuple[str, Json]:
    """Path and JSON body of an HTTP request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request_line, *lines = head.split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return request_line.split()[1], json.loads(body) if body else {}


def likely_tokens(token_id: int, number: int) -> list[tuple[int, float]]:
    """Ids and logprobs of the likeliest tokens in the place of another, likeliest first."""
    return [(token_id + rank, -float(rank)) for rank in range(1, number + 1)]


def common_prefix(one: list[int], other: list[int]) -> int:
    """Length of the common prefix."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
