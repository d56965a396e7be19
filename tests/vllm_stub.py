"""A stand-in for a vLLM server, in the shape recorded from vLLM 0.32.0 (`RECORDED`): streamed
`/v1/completions` whose events have what is new, `/version`, `/v1/models` and `/metrics`.
"""

import asyncio
import json
from pathlib import Path
from typing import Final, cast

from server_stub import CHOSEN_LOGPROB, Json, Page, ServerStub, likely_tokens, response

RECORDED: Final[dict[str, object]] = json.loads(
    (Path(__file__).parent / "recorded" / "vllm-0.32.0.json").read_text()
)
"""What a real server answered and published, by what was asked."""


class VLLMStub(ServerStub):
    """One server; `async with` runs it.

    Args:
        page_size: Told in the metrics, and for cached tokens.
        capacity_tokens: Of the KV cache.
        context_length: Of the model.
    """

    generate_path = "/v1/completions"

    def __init__(
        self, *, page_size: int = 16, capacity_tokens: int = 640, context_length: int = 512
    ) -> None:
        pages: dict[str, Page] = {
            "/version": {"version": "0.32.0"},
            "/v1/models": {"data": [{"id": "smol", "max_model_len": context_length}]},
            "/metrics": metrics(page_size=page_size, capacity_tokens=capacity_tokens),
            "/health": "",
        }
        super().__init__(pages, page_size)
        self.trial = trial_answer()
        """The answer to a request that is not streamed."""

    async def answer(
        self, path: str, body: Json, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """As any, but for the request by which the server is tried; that is not noted."""
        if path == self.generate_path and not body.get("stream"):
            writer.write(self.trial)
            await writer.drain()
        else:
            await super().answer(path, body, reader, writer)

    def events(self, body: Json) -> list[Json]:
        """One for each token, and one for the usage."""
        prompt = cast("list[int]", body["prompt"])
        output, cached = self.complete(prompt, cast("int", body["max_tokens"]))
        reasons = [None] * (len(output) - 1) + ["length"]
        num_top = cast("int | None", body.get("logprobs"))
        steps = [
            step([token_id], finish_reason=reason, num_top=num_top)
            for token_id, reason in zip(output, reasons, strict=True)
        ]
        return [*steps, usage(cached)]


def trial_answer(*, token_ids: bool = True, cached_tokens: bool = True) -> bytes:
    """The answer to the smallest request, by which a server is tried."""
    answer = step([29], finish_reason="length") | usage(0)
    answer["choices"] = step([29] if token_ids else None, finish_reason="length")["choices"]
    return response(200, json.dumps(answer if cached_tokens else answer | {"usage": {}}).encode())


def step(
    token_ids: list[int] | None, *, finish_reason: str | None, num_top: int | None = None
) -> Json:
    """An event with new tokens."""
    text = "".join(f"{token_id} " for token_id in token_ids or ())
    choice = {
        "index": 0, "text": text, "token_ids": token_ids, "finish_reason": finish_reason,
        "logprobs": None if num_top is None else logprobs(token_ids or [], num_top),
    }  # fmt: skip
    return {"object": "text_completion", "choices": [choice]}


def logprobs(token_ids: list[int], num_top: int) -> Json:
    """As for `return_tokens_as_token_ids`; the chosen token always stands beside the likeliest."""
    return {
        "tokens": [f"token_id:{each}" for each in token_ids],
        "token_logprobs": [CHOSEN_LOGPROB] * len(token_ids),
        "top_logprobs": [
            {
                f"token_id:{token_id}": value
                for token_id, value in [(each, CHOSEN_LOGPROB), *likely_tokens(each, num_top)]
            }
            for each in token_ids
        ],
    }


def usage(cached_tokens: int) -> Json:
    """The event after the last token."""
    return {"choices": [], "usage": {"prompt_tokens_details": {"cached_tokens": cached_tokens}}}


def metrics(
    *, page_size: int = 16, capacity_tokens: int = 640, running: int = 0, waiting: int = 0,
    started_at_s: float = 1.0, caching: bool = True,
) -> str:  # fmt: skip
    """What is read of `/metrics`."""
    return (
        f"process_start_time_seconds {started_at_s}\n"
        f'vllm:cache_config_info{{block_size="{page_size}",enable_prefix_caching="{caching}",'
        f'kv_cache_size_tokens="{capacity_tokens}",num_gpu_blocks="None"}} 1.0\n'
        f'vllm:num_requests_running{{engine="0",model_name="smol"}} {running}.0\n'
        f'vllm:num_requests_waiting{{engine="0",model_name="smol"}} {waiting}.0\n'
    )
