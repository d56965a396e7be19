"""SGLang's HTTP dialect: what we send, what comes back, and what its errors mean. No I/O.

Proved against SGLang 0.5.23. A reply to `/generate`, and each event of a streamed one, is

    {"text": ..., "output_ids": [...], "meta_info": {"finish_reason": {"type": "stop"}, ...}}

with text and ids from the beginning on (cumulative); an event may be {"error": {...}} instead.
`meta_info` has the logprobs, cumulative too, if they were asked for:

    "output_token_logprobs": [[-0.1, 5, null], ...],
    "output_top_logprobs": [[[-0.1, 5, null], ...], ...]
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import repeat
from typing import Final

import msgspec

from preble.errors import EngineRefused, EngineUnavailable
from preble.messages import SamplingParams, TokenLogprob, unpack_tokens
from preble_workers.dialect import ServerLoad
from preble_workers.engine import Completion, EngineInfo, EngineRequest
from preble_workers.logprobs import check_logprobs, token_logprob
from preble_workers.token_teller import TokenTeller
from preble_workers.wire_errors import WireError, engine_error, raise_told

_STREAM_INTERVAL_TOKENS: Final = 32
"""The first token comes at once, the rest in such portions: as each event repeats all the
output before it, one for every token costs the square of the output's length. That is paid
where somebody reads along."""


_MOST_TOP: Final = 256
"""Likely tokens a place. SGLang dies if asked for more than the vocabulary has, and every one has
as many as there are bytes."""


class _FinishReason(msgspec.Struct):
    type: str
    message: str | None = None
    status_code: int | None = None


class _Likely(msgspec.Struct, array_like=True, gc=False):
    logprob: float | None
    token_id: int


class _MetaInfo(msgspec.Struct):
    finish_reason: _FinishReason | str | None = None
    cached_tokens: int = 0
    output_token_logprobs: list[_Likely] = []
    output_top_logprobs: list[list[_Likely] | None] = []


class _Reply(msgspec.Struct):
    text: str = ""
    output_ids: tuple[int, ...] = ()
    meta_info: _MetaInfo = msgspec.field(default_factory=_MetaInfo)
    error: WireError | str | None = None


class _RankLoad(msgspec.Struct):
    num_running_reqs: int
    num_waiting_reqs: int


class _Loads(msgspec.Struct):
    loads: list[_RankLoad]


def check_possible(sampling: SamplingParams, *, honours_seeds: bool) -> None:
    """See that a server does what is asked; by itself it would not say that it does not.

    Raises:
        EngineRefused: If it would draw by chance though there is a seed, or die.
    """
    draws = sampling.temperature > 0  # else the likeliest token comes each time, seed or not
    if draws and sampling.seed is not None and not honours_seeds:
        msg = (
            "this SGLang ignores seeds: start it with --enable-deterministic-inference, or ask "
            "without a seed or with temperature 0"
        )
        raise EngineRefused(msg)
    if (sampling.logprobs or 0) > _MOST_TOP:
        raise EngineRefused(f"SGLang is asked for at most {_MOST_TOP} likely tokens in each place")


def generate_body(request: EngineRequest, rid: str) -> bytes:
    """The JSON body of a streamed `/generate`.

    All sampling parameters are sent, so that no default of the server's steps in.
    """
    sampling = msgspec.structs.asdict(request.sampling)
    num_top, seed = sampling.pop("logprobs"), sampling.pop("seed")
    sampling["stream_interval"] = 1 if request.is_streamed else _STREAM_INTERVAL_TOKENS
    if seed is not None:
        sampling["sampling_seed"] = seed
    body: dict[str, object] = {
        "rid": rid,
        "input_ids": unpack_tokens(request.prompt),
        "sampling_params": sampling,
        "stream": True,
    }
    if num_top is not None:
        # Of the output alone: a prompt's would have to be computed, cached or not.
        body |= {"return_logprob": True, "top_logprobs_num": num_top, "logprob_start_len": -1}
    if request.cache_salt:
        body["cache_salt"] = request.cache_salt
    return msgspec.json.encode(body)


class SGLangReader:
    """Tells what is new in each event of a stream; the last is the completion.

    Args:
        teller: Told of it.
    """

    def __init__(self, teller: TokenTeller) -> None:
        self._request = teller.request
        self._teller = teller
        self._num_ids = 0
        self._text = ""
        self._last = ""

    def read(self, event: str) -> None:
        """The next event. One that cannot be read says nothing, unless it is the last.

        Raises:
            EngineRefused: If it lacks logprobs that were asked for.
        """
        self._last = event
        self._teller.begin()
        if self._request.is_streamed:
            self._tell(event)

    def completion(self, *, ttft_s: float) -> Completion:
        """The completion in the last event.

        Raises:
            EngineRefused: If the event says that the request was wrong, or lacks logprobs.
            EngineUnavailable: If it tells of another error, was aborted or cut short.
        """
        try:
            last = msgspec.json.decode(self._last, type=_Reply)
        except msgspec.DecodeError as error:
            msg = f"the engine's reply is not SGLang's: {error}"
            raise EngineUnavailable(msg) from error
        raise_told(last.error)
        finish = _finish_type(last.meta_info.finish_reason)
        logprobs = self._logprobs(last.meta_info, 0)
        check_logprobs(self._request.sampling, last.output_ids, logprobs)
        return Completion(
            last.output_ids, last.text, finish, last.meta_info.cached_tokens, ttft_s, logprobs
        )

    def _tell(self, event: str) -> None:
        try:
            reply = msgspec.json.decode(event, type=_Reply)
        except msgspec.DecodeError:
            return
        ids = reply.output_ids[self._num_ids :]
        logprobs = self._logprobs(reply.meta_info, self._num_ids)
        # The last event may lack what stood before it: the stop string that ended the text.
        text = reply.text[len(self._text) :] if reply.text.startswith(self._text) else ""
        self._num_ids += len(ids)
        self._text += text
        self._teller.tell(ids, text, logprobs)

    def _logprobs(self, told: _MetaInfo, start: int) -> tuple[TokenLogprob, ...]:
        """From one token on, if they were asked for."""
        num_top = self._request.sampling.logprobs
        if num_top is None:
            return ()
        chosen = told.output_token_logprobs[start:]
        # With none asked for, SGLang leaves them out.
        tops = told.output_top_logprobs[start:] if num_top else repeat(None)
        return tuple(
            token_logprob(each.logprob, _pairs(top or ()), num_top)
            for each, top in zip(chosen, tops, strict=False)
        )


def engine_info(server_info: Mapping[str, object], assumed: EngineInfo) -> EngineInfo:
    """What `/server_info` says the engine takes; what it leaves out is assumed."""

    def stated(name: str, otherwise: int) -> int:
        value = server_info.get(name)
        return value if isinstance(value, int) and value > 0 else otherwise

    return EngineInfo(
        slots=min(assumed.slots, stated("max_running_requests", assumed.slots)),
        kv_capacity_tokens=stated("max_total_num_tokens", assumed.kv_capacity_tokens),
        page_size=stated("page_size", assumed.page_size),
        context_length=stated("context_length", assumed.context_length),
        has_kv_cache=server_info.get("disable_radix_cache") is not True,
    )


def honours_seeds(server_info: Mapping[str, object]) -> bool:
    """Whether `/server_info` says that sampling follows the seed of a request.

    Otherwise SGLang takes seeds and draws by chance all the same.
    """
    return server_info.get("enable_deterministic_inference") is True


def server_identity(server_info: Mapping[str, object]) -> object:
    """Something that is another after the server was started anew, if it says anything at all.

    SGLang draws a random seed at each start, unless told one, and times its own start.
    """
    return server_info.get("random_seed"), server_info.get("startup_time")


def server_load(loads: Mapping[str, object] | None) -> ServerLoad | None:
    """What `/v1/loads` says, of all the server's ranks together; None if it says nothing."""
    try:
        ranks = msgspec.convert(loads, _Loads).loads
    except msgspec.ValidationError:
        return None
    running = sum(rank.num_running_reqs for rank in ranks)
    return ServerLoad(running, sum(rank.num_waiting_reqs for rank in ranks))


def _pairs(likely: Sequence[_Likely]) -> list[tuple[int, float | None]]:
    return [(each.token_id, each.logprob) for each in likely]


def _finish_type(reason: _FinishReason | str | None) -> str:
    """`stop` or `length`, the only ways a request ends well."""
    if reason is None:
        msg = "the engine's reply was cut short"
        raise EngineUnavailable(msg)
    if isinstance(reason, str):
        reason = _FinishReason(reason)
    if reason.type == "abort":
        status = reason.status_code or HTTPStatus.SERVICE_UNAVAILABLE
        raise engine_error(status, f"aborted: {reason.message}")
    return reason.type
