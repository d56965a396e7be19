"""What the tests of files and batches share: inputs, and what the files of a batch say together."""

import asyncio
import io
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

import msgspec
from openai import OpenAI

MODEL = "preble-emulated"
COMPLETIONS: Literal["/v1/completions"] = "/v1/completions"
WITHIN_S = 60.0
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


def line(number: int, *, max_tokens: int = 4, **body: object) -> dict[str, Any]:
    """One request of an input, whose prompt shares its beginning with every tenth other."""
    prompt = f"Group {number % 10} of documents. " * 8 + f"Question {number}?"
    asked = {"model": MODEL, "prompt": prompt, "max_tokens": max_tokens, **body}
    return {"custom_id": f"line-{number}", "method": "POST", "url": COMPLETIONS, "body": asked}


def jsonl(lines: Iterable[object]) -> bytes:
    """An input file."""
    return b"".join(msgspec.json.encode(each) + b"\n" for each in lines)


def lines(number: int, **options: Any) -> bytes:  # noqa: ANN401  as `line`
    """An input file of so many requests."""
    return jsonl(line(each, **options) for each in range(number))


def sdk(url: str) -> OpenAI:
    """OpenAI's own client on an api."""
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=5)


def start_batch(
    client: OpenAI,
    data: bytes,
    *,
    window: Any = "24h",  # noqa: ANN401  the SDK knows one alone
    **options: Any,  # noqa: ANN401  the SDK's own
) -> str:
    """Upload an input and run it; returns the batch's id."""
    file = client.files.create(file=("input.jsonl", io.BytesIO(data)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint=COMPLETIONS, completion_window=window, **options
    )
    return batch.id


def results(client: OpenAI, batch_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of the output and of the error file of a batch that has ended."""
    batch = client.batches.retrieve(batch_id)
    return _lines(client, batch.output_file_id), _lines(client, batch.error_file_id)


def _lines(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    text = client.files.content(file_id).read()
    return [msgspec.json.decode(each) for each in text.splitlines()]


def each_once(done: Iterable[dict[str, Any]], number: int) -> bool:
    """Whether exactly these lines are there, each once."""
    counted = Counter(each["custom_id"] for each in done)
    return counted == Counter(f"line-{each}" for each in range(number))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """As `support.eventually`, within an event loop. Raises: TimeoutError."""
    async with asyncio.timeout(WITHIN_S):
        while not await condition():  # noqa: ASYNC110  asks what no event tells
            await asyncio.sleep(0.01)
