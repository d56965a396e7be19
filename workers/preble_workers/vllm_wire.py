"""vLLM's HTTP dialect: what we send, and what comes back. No I/O.

Proved against vLLM 0.32.0. Each event of a streamed `/v1/completions` has what is new:

    {"choices": [{"text": ..., "token_ids": [...], "finish_reason": null}]}

the last has no choices but `usage`; an event may be {"error": {...}} instead. A choice has the
logprobs, if they were asked for; each of the top may have the chosen token beside the likeliest:

    "logprobs": {"token_logprobs": [-0.1], "top_logprobs": [{"token_id:5": -0.1}]}
"""

from collections.abc import Mapping
from itertools import repeat
from typing import Final

import msgspec

from preble.errors import EngineRefused, EngineUnavailable
from preble.messages import TokenLogprob, unpack_tokens
from preble_workers.engine import Completion, EngineRequest
from preble_workers.kv_events import Endpoints, PublisherConfig, endpoints_of
from preble_workers.logprobs import check_logprobs, token_logprob
from preble_workers.token_teller import TokenTeller
from preble_workers.wire_errors import WireError, raise_told

_STREAM_INTERVAL_TOKENS: Final = 32
"""The first token comes at once, the rest in such portions, unless somebody reads along."""

_BEFORE_ID: Final = "token_id:"
"""How the name of a token begins that is named by its id."""

_WELL_ENDED: Final = frozenset({"stop", "length"})


class Model(msgspec.Struct, frozen=True):
    """The first of `/v1/models`; adapters stand after it."""

    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct, frozen=True):
    data: list[Model]


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens_details: _PromptDetails | None = None


class _Logprobs(msgspec.Struct, frozen=True):
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float | None] | None] = []


class _Choice(msgspec.Struct, frozen=True):
    text: str = ""
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Event(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: WireError | str | None = None


class _Flushed(msgspec.Struct, frozen=True):
    success: bool = True


class Trial(msgspec.Struct, frozen=True):
    """What an answer to `trial_body` shows that the server tells."""

    token_ids: bool
    cached_tokens: bool


def completion_body(model: str, request: EngineRequest, rid: str) -> bytes:
    """The JSON body of a streamed `/v1/completions`.

    All sampling parameters are sent, so that no default of the server's or model's steps in.
    """
    sampling = msgspec.structs.asdict(request.sampling)
    wanted = {name: sampling.pop(name) for name in ("seed", "logprobs")}
    body: dict[str, object] = {
        "model": model,
        "request_id": rid,
        "prompt": unpack_tokens(request.prompt),
        "max_tokens": sampling.pop("max_new_tokens"),
        **sampling,
        "stream": True,
        "stream_interval": 1 if request.is_streamed else _STREAM_INTERVAL_TOKENS,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
        **{name: value for name, value in wanted.items() if value is not None},
    }
    if request.sampling.logprobs is not None:
        body["return_tokens_as_token_ids"] = True
    if request.cache_salt:
        body["cache_salt"] = request.cache_salt
    return msgspec.json.encode(body)


def trial_body(model: str) -> dict[str, object]:
    """The smallest request: one token after one token."""
    return {"model": model, "prompt": [0], "max_tokens": 1, "return_token_ids": True}


def read_trial(body: bytes) -> Trial:
    """What an answer to the trial shows. Raises: EngineUnavailable if it is none."""
    event = _decoded(body)
    raise_told(event.error)
    return Trial(
        token_ids=any(choice.token_ids for choice in event.choices),
        cached_tokens=_cached_tokens(event.usage) is not None,
    )


class VLLMReader:
    """Tells what is new in each event of a stream, and keeps it for the completion.

    Args:
        teller: Told of it.
    """

    def __init__(self, teller: TokenTeller) -> None:
        self._request = teller.request
        self._teller = teller
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._texts: list[str] = []
        self._finish_reason = ""
        self._cached_tokens = 0

    def read(self, event: str) -> None:
        """The next event.

        Raises:
            EngineRefused: If it says that the request was wrong, or lacks logprobs.
            EngineUnavailable: If it tells of another error, or cannot be read.
        """
        told = _decoded(event)
        raise_told(told.error)
        self._cached_tokens = _cached_tokens(told.usage) or self._cached_tokens
        for choice in told.choices:
            self._take(choice)

    def completion(self, *, ttft_s: float) -> Completion:
        """All that was told.

        Raises:
            EngineRefused: If it lacks logprobs that were asked for.
            EngineUnavailable: If it was aborted or cut short.
        """
        if not self._finish_reason:
            msg = "the engine's reply was cut short"
            raise EngineUnavailable(msg)
        if self._finish_reason not in _WELL_ENDED:
            raise EngineUnavailable(f"the engine ended the request: {self._finish_reason}")
        check_logprobs(self._request.sampling, self._ids, self._logprobs)
        return Completion(
            tuple(self._ids), "".join(self._texts), self._finish_reason, self._cached_tokens,
            ttft_s, tuple(self._logprobs),
        )  # fmt: skip

    def _take(self, choice: _Choice) -> None:
        ids = choice.token_ids or []
        logprobs = _token_logprobs(choice.logprobs, self._request.sampling.logprobs)
        self._ids += ids
        self._logprobs += logprobs
        self._texts.append(choice.text)
        self._finish_reason = choice.finish_reason or self._finish_reason
        self._teller.begin()
        if self._request.is_streamed:
            self._teller.tell(ids, choice.text, logprobs)


def is_flush_refused(body: bytes) -> bool:
    """Whether an answer to `/reset_prefix_cache` says so; that of older versions is empty."""
    try:
        return not msgspec.json.decode(body, type=_Flushed).success
    except msgspec.DecodeError:
        return False


def first_model(models: Mapping[str, object] | None) -> Model | None:
    """The model that `/v1/models` names first; None if it names none."""
    try:
        return next(iter(msgspec.convert(models, _Models).data), None)
    except msgspec.ValidationError:
        return None


def event_endpoints(sources: Mapping[str, object] | None, url: str) -> Endpoints | None:
    """Where `/kv_event_sources` says that the KV events are; None if nowhere.

    None also for a server with several KV caches (`--data-parallel-size`), which Preble takes
    for one.
    """
    try:
        configs = msgspec.convert(sources, dict[str, PublisherConfig])
    except msgspec.ValidationError:
        return None
    return endpoints_of(next(iter(configs.values())), url) if len(configs) == 1 else None


def _token_logprobs(told: _Logprobs | None, num_top: int | None) -> list[TokenLogprob]:
    """Those of one choice, if any were asked for."""
    if told is None or num_top is None:
        return []
    # With none asked for, vLLM tells the chosen ones.
    tops = told.top_logprobs if num_top else repeat(None)
    return [
        token_logprob(chosen, _by_id(top or {}), num_top)
        for chosen, top in zip(told.token_logprobs, tops, strict=False)
    ]


def _by_id(top: Mapping[str, float | None]) -> list[tuple[int, float | None]]:
    """Ids and logprobs of likely tokens. Raises: EngineRefused if they are named by their text."""
    if not all(name.startswith(_BEFORE_ID) for name in top):
        msg = (
            "the engine names likely tokens by their text, and ids were asked for "
            "(return_tokens_as_token_ids): it is too old, ask for no likely tokens"
        )
        raise EngineRefused(msg)
    return [(int(name.removeprefix(_BEFORE_ID)), logprob) for name, logprob in top.items()]


def _cached_tokens(usage: _Usage | None) -> int | None:
    details = usage.prompt_tokens_details if usage else None
    return details.cached_tokens if details else None


def _decoded(event: str | bytes) -> _Event:
    try:
        return msgspec.json.decode(event, type=_Event)
    except msgspec.DecodeError as error:
        msg = f"the engine's reply is not vLLM's: {error}"
        raise EngineUnavailable(msg) from error
