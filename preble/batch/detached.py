"""A file of prompts as OpenAI's batch, which the api itself drives to its end. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from preble.batch.lines import Line
from preble.batch.openai_lines import CHAT, COMPLETIONS
from preble.errors import ConfigError

_PROMPTS: Final = {"prompt": COMPLETIONS, "input_ids": COMPLETIONS, "messages": CHAT}
_NAMES: Final = {"input_ids": "prompt", "max_new_tokens": "max_tokens"}


class OpenAiLine(msgspec.Struct, frozen=True):
    """A line as `POST /v1/batches` takes it."""

    custom_id: str
    url: str
    body: Mapping[str, object]
    method: str = "POST"


def openai_lines(lines: Iterable[Line], model: str) -> Iterator[OpenAiLine]:
    """The lines of a batch in OpenAI's form.

    Args:
        lines: Of the input.
        model: For those that name none.

    Raises:
        ConfigError: If one can have no job, or asks for another route than the first.
    """
    endpoint = ""
    for line in lines:
        if line.wrong:
            raise ConfigError(line.wrong)
        made = _openai_line(line, model)
        endpoint = endpoint or made.url
        if made.url != endpoint:
            msg = f"row {line.number} is for {made.url}, the rows before for {endpoint}"
            raise ConfigError(f"{msg}; a batch has one route: make two, or use `preble batch run`")
        yield made


def _openai_line(line: Line, model: str) -> OpenAiLine:
    job = msgspec.json.decode(line.body, type=dict[str, object])
    sampling = msgspec.convert(job.pop("sampling_params", {}), dict[str, object])
    kind = next(name for name in _PROMPTS if name in job)
    if "webhook" in job:
        raise ConfigError(f"row {line.number}: lines of a batch have no webhook")
    logprobs = _logprobs(sampling.pop("logprobs", None), is_chat=kind == "messages")
    body = {_NAMES.get(name, name): value for name, value in (job | sampling | logprobs).items()}
    return OpenAiLine(line.id, _PROMPTS[kind], {"model": model, **body})


def _logprobs(number: object, *, is_chat: bool) -> dict[str, object]:
    """As the route knows them."""
    if number is None:
        return {}
    return {"logprobs": True, "top_logprobs": number} if is_chat else {"logprobs": number}
