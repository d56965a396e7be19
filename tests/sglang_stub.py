"""A stand-in for an SGLang server: its HTTP shape, on loopback, without a model.

Answers in the shape recorded from SGLang 0.5.23: streamed `/generate` with cumulative events,
`/abort_request`, `/model_info` and `/server_info`. It echoes the end of the prompt and reports
cached tokens by SGLang's rule, for prompts that it has completed.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Self, cast

Json = dict[str, object]


class SGLangStub:
    """One server; `async with` runs it.

    Args:
        server_info: The reply of `/server_info`; None for a server that has none.
        model_info: The reply of `/model_info`.
        page_size: For cached tokens.
    """

    def __init__(
        self,
        *,
        server_info: Mapping[str, object] | None = None,
        model_info: Mapping[str, object] | None = None,
        page_size: int = 16,
    ) -> None:
        self.pages: dict[str, Mapping[str, object] | None] = {
            "/server_info": server_info,
            "/model_info": model_info or {"is_generation": True},
            "/health_generate": {},
            "/abort_request": {},
        }
        """Replies by path; None is a 404."""
        self.requests: defaultdict[str, asyncio.Queue[Json]] = defaultdict(asyncio.Queue)
        """Bodies by path, as they come."""
        self.scripted: defaultdict[str, list[bytes]] = defaultdict(list)
        """Raw responses by path, to be given to the next requests instead."""
        self.go_on = asyncio.Event()
        """Clear it to hold each completion after its first event."""
        self.go_on.set()
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
            await self._answer(path, body, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, body: Json, writer: asyncio.StreamWriter) -> None:
        self.requests[path].put_nowait(body)
        if self.scripted[path]:
            writer.write(self.scripted[path].pop(0))
        elif path == "/generate":
            await self._generate(body, writer)
        elif (page := self.pages.get(path)) is not None:
            writer.write(response(200, json.dumps(page).encode()))
        else:
            writer.write(response(404, b'{"detail": "Not Found"}'))
        await writer.drain()

    async def _generate(self, body: Json, writer: asyncio.StreamWriter) -> None:
        first, *rest = self._events(body)
        writer.write(STREAM_HEAD + chunk(first))
        await writer.drain()
        await self.go_on.wait()
        writer.write(b"".join(map(chunk, rest)) + STREAM_TAIL)

    def _events(self, body: Json) -> list[Json]:
        prompt = cast("list[int]", body["input_ids"])
        sampling = cast("dict[str, int]", body["sampling_params"])
        num_output = sampling["max_new_tokens"]
        output = (prompt * num_output)[-num_output:]
        cached = self._cached_tokens(prompt)
        self._completed.append([*prompt, *output[:-1]])
        ends = range(1, num_output + 1)
        finish = [None] * (num_output - 1) + [{"type": "length"}]
        return [
            reply(output[:end], cached_tokens=cached, finish_reason=reason)
            for end, reason in zip(ends, finish, strict=True)
        ]

    def _cached_tokens(self, prompt: list[int]) -> int:
        longest = max((common_prefix(prompt, other) for other in self._completed), default=0)
        return min(longest, len(prompt) - 1) // self._page_size * self._page_size


def reply(output: list[int], *, cached_tokens: int, finish_reason: object) -> Json:
    """One event, or the whole answer."""
    meta_info = {
        "id": "some-rid",
        "finish_reason": finish_reason,
        "prompt_tokens": 7,
        "completion_tokens": len(output),
        "cached_tokens": cached_tokens,
    }
    return {
        "text": " ".join(map(str, output)),
        "output_ids": output,
        "meta_info": meta_info,
    }


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


def common_prefix(one: list[int], other: list[int]) -> int:
    """Length of the common prefix."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
