"""A stand-in for an SGLang server, in the shape recorded from SGLang 0.5.23: streamed `/generate`
with cumulative events, `/abort_request`, `/model_info` and `/server_info`.
"""

from collections.abc import Mapping
from typing import cast

from server_stub import CHOSEN_LOGPROB, Json, ServerStub, likely_tokens


class SGLangStub(ServerStub):
    """One server; `async with` runs it.

    Args:
        server_info: The reply of `/server_info`; None for a server that has none.
        model_info: The reply of `/model_info`.
        page_size: For cached tokens.
    """

    generate_path = "/generate"

    def __init__(
        self,
        *,
        server_info: Mapping[str, object] | None = None,
        model_info: Mapping[str, object] | None = None,
        page_size: int = 16,
    ) -> None:
        pages = {
            "/server_info": server_info,
            "/model_info": model_info or {"is_generation": True},
            "/health_generate": {},
            "/abort_request": {},
        }
        super().__init__(pages, page_size)

    def events(self, body: Json) -> list[Json]:
        """Each repeats all the output before it."""
        prompt = cast("list[int]", body["input_ids"])
        num_output = cast("dict[str, int]", body["sampling_params"])["max_new_tokens"]
        output, cached = self.complete(prompt, num_output)
        ends = range(1, num_output + 1)
        finish = [None] * (num_output - 1) + [{"type": "length"}]
        num_top = cast("int", body["top_logprobs_num"]) if body.get("return_logprob") else None
        return [
            reply(output[:end], cached_tokens=cached, finish_reason=reason, num_top=num_top)
            for end, reason in zip(ends, finish, strict=True)
        ]


def reply(
    output: list[int], *, cached_tokens: int, finish_reason: object, num_top: int | None = None
) -> Json:
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
        "meta_info": meta_info | logprobs(output, num_top),
    }


def logprobs(output: list[int], num_top: int | None) -> Json:
    """What `meta_info` has of them; of likely tokens nothing, if none were asked for."""
    if num_top is None:
        return {}
    chosen: Json = {"output_token_logprobs": [[CHOSEN_LOGPROB, each, None] for each in output]}
    if not num_top:
        return chosen
    tops = [[[value, i, None] for i, value in likely_tokens(each, num_top)] for each in output]
    return chosen | {"output_top_logprobs": tops}
