"""SGLang's HTTP dialect: what we send, what comes back, and what its errors mean. No I/O.

Proved against SGLang 0.5.23. A reply to `/generate`, and each event of a streamed one, is

    {"text": ..., "output_ids": [...], "meta_info": {"finish_reason": {"type": "stop"}, ...}}

with text and ids from the beginning on (cumulative); an event may be {"error": {...}} instead.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from preble.errors import EngineUnavailable
from preble.messages import unpack_tokens
from preble_workers.dialect import ServerLoad
from preble_workers.engine import Completion, EngineInfo, EngineRequest, OnTokens
from preble_workers.wire_errors import WireError, engine_error, raise_told

_STREAM_INTERVAL_TOKENS: Final = 32
"""The first token comes at once, the rest in such portions: as each event repeats all the
output before it, one for every token costs the square of the output's length. That is paid
where somebody reads along."""


class _FinishReason(msgspec.Struct):
    type: str
    message: str | None = None
    status_code: int | None = None


class _MetaInfo(msgspec.Struct):
    finish_reason: _FinishReason | str | None = None
    cached_tokens: int = 0


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


def generate_body(request: EngineRequest, rid: str) -> bytes:
    """The JSON body of a streamed `/generate`.

    All sampling parameters are sent, so that no default of the server's steps in.
    """
    sampling = msgspec.structs.asdict(request.sampling)
    interval_tokens = 1 if request.is_streamed else _STREAM_INTERVAL_TOKENS
    body: dict[str, object] = {
        "rid": rid,
        "input_ids": unpack_tokens(request.prompt),
        "sampling_params": sampling | {"stream_interval": interval_tokens},
        "stream": True,
    }
    if request.cache_salt:
        body["cache_salt"] = request.cache_salt
    return msgspec.json.encode(body)


class SGLangReader:
    """Tells what is new in each event of a stream; the last is the completion.

    Args:
        request: That is answered.
        on_tokens: Called with what is new; once, with nothing, if the request is not streamed.
        on_begin: Called with the request before the first tokens are told.
    """

    def __init__(
        self, request: EngineRequest, on_tokens: OnTokens,
        on_begin: Callable[[EngineRequest], None],
    ) -> None:  # fmt: skip
        self._request = request
        self._on_tokens = on_tokens
        self._on_begin = on_begin
        self._has_begun = False
        self._num_ids = 0
        self._text = ""
        self._last = ""

    def read(self, event: str) -> None:
        """The next event. One that cannot be read says nothing, unless it is the last."""
        self._last = event
        is_first, self._has_begun = not self._has_begun, True
        if is_first:
            self._on_begin(self._request)
        if self._request.is_streamed:
            self._tell(event)
        elif is_first:
            self._on_tokens((), None)

    def completion(self, *, ttft_s: float) -> Completion:
        """The completion in the last event.

        Raises:
            EngineRefused: If the event says that the request was wrong.
            EngineUnavailable: If it tells of another error, was aborted or cut short.
        """
        try:
            last = msgspec.json.decode(self._last, type=_Reply)
        except msgspec.DecodeError as error:
            msg = f"the engine's reply is not SGLang's: {error}"
            raise EngineUnavailable(msg) from error
        raise_told(last.error)
        finish = _finish_type(last.meta_info.finish_reason)
        return Completion(last.output_ids, last.text, finish, last.meta_info.cached_tokens, ttft_s)

    def _tell(self, event: str) -> None:
        try:
            reply = msgspec.json.decode(event, type=_Reply)
        except msgspec.DecodeError:
            return
        ids = reply.output_ids[self._num_ids :]
        # The last event may lack what stood before it: the stop string that ended the text.
        text = reply.text[len(self._text) :] if reply.text.startswith(self._text) else ""
        self._num_ids += len(ids)
        self._text += text
        if ids or text:
            self._on_tokens(ids, text)


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
