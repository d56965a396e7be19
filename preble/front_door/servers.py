"""Asks running SGLang and vLLM servers what they serve, and waits for those not up yet.

Of SGLang it is told by `/model_info`, and its limits by `/server_info`; older servers have
`/get_model_info` and `/get_server_info`. Of vLLM it is told by `/v1/models`, and the size of its
pages by a label in `/metrics`.
"""

import re
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Final, TypeVar

import httpx2
import msgspec

from preble.clock import Clock, SystemClock
from preble.errors import ConfigError

WAIT_S: Final = 60.0
"""How long servers may take to answer, all together."""

_SAY_PERIOD_S: Final = 5.0
_POLL_PERIOD_S: Final = 0.25
_TIMEOUT_S: Final = 5.0
_NOT_INPUT_TOKENS: Final = 6
"""Tokens of the context that SGLang keeps from `max_req_input_len`."""

Say = Callable[[str], None]
_VLLM_PAGE: Final = re.compile(r'^vllm:cache_config_info\{.*\bblock_size="(\d+)"', re.MULTILINE)
_Info = TypeVar("_Info", bound=msgspec.Struct)


class Served(msgspec.Struct, frozen=True):
    """What one server says of itself."""

    url: str
    model_path: str
    tokenizer_path: str
    page_size: int
    context_length: int | None
    """None if the server does not say."""


class _ModelInfo(msgspec.Struct):
    model_path: str
    tokenizer_path: str = ""


class _ServerInfo(msgspec.Struct):
    page_size: int | None = None
    context_length: int | None = None
    max_req_input_len: int | None = None


class _Model(msgspec.Struct):
    id: str
    root: str | None = None
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: Annotated[list[_Model], msgspec.Meta(min_length=1)]


class _NotUp(Exception):
    """A server that may answer later."""


def ask_servers(
    urls: Sequence[str],
    say: Say,
    *,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
    transport: httpx2.BaseTransport | None = None,
) -> list[Served]:
    """What each server says, in order.

    Args:
        urls: Of the servers, without a path.
        say: Takes a line now and then while a server is awaited.
        clock: Measures the waiting.
        sleep: Waits for so many seconds.
        transport: Replaces the network, for tests.

    Raises:
        ConfigError: If a server does not answer within `WAIT_S`, or is neither SGLang nor vLLM.
    """
    # Proxies of the environment are for the internet, not for an engine.
    with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False, transport=transport) as client:
        asker = _Asker(client, say, clock or SystemClock(), sleep)
        return [asker.insist(url) for url in urls]


class _Asker:
    def __init__(
        self, client: httpx2.Client, say: Say, clock: Clock, sleep: Callable[[float], None]
    ) -> None:
        self._client = client
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._began_s = clock.now_s()
        self._say_again_s = self._began_s

    def insist(self, url: str) -> Served:
        """Ask until the server answers. Raises: ConfigError."""
        while True:
            try:
                return self._ask(url)
            except _NotUp as reason:
                self._have_patience(url, str(reason))
            self._sleep(_POLL_PERIOD_S)

    def _have_patience(self, url: str, reason: str) -> None:
        now_s = self._clock.now_s()
        if now_s - self._began_s >= WAIT_S:
            msg = (
                f"runtime_urls: no server answered at {url} within {WAIT_S:g} s ({reason}); "
                "start it first, or correct the URL"
            )
            raise ConfigError(msg)
        if now_s >= self._say_again_s:
            self._say(f"waiting for the server at {url}: {reason}")
            self._say_again_s = now_s + _SAY_PERIOD_S

    def _ask(self, url: str) -> Served:
        return self._ask_vllm(url) if self._is_vllm(url) else self._ask_sglang(url)

    def _is_vllm(self, url: str) -> bool:
        """Only vLLM has both pages."""
        return all(self._reply(url + path).is_success for path in ("/version", "/v1/models"))

    def _ask_vllm(self, url: str) -> Served:
        model = self._get(url, ("/v1/models",), _Models).data[0]
        page = _VLLM_PAGE.search(self._reply(url + "/metrics").text)
        path = model.root or model.id
        return Served(
            url=url,
            model_path=path,
            tokenizer_path=path,
            page_size=int(page[1]) if page else 1,
            context_length=model.max_model_len,
        )

    def _ask_sglang(self, url: str) -> Served:
        model = self._get(url, ("/model_info", "/get_model_info"), _ModelInfo)
        server = self._get(url, ("/server_info", "/get_server_info"), _ServerInfo)
        return Served(
            url=url,
            model_path=model.model_path,
            tokenizer_path=model.tokenizer_path or model.model_path,
            page_size=server.page_size or 1,
            context_length=_context_length(server),
        )

    def _get(self, url: str, paths: Sequence[str], info: type[_Info]) -> _Info:
        """The answer under the first path that the server knows."""
        reply = self._reply(url + paths[0])
        for path in paths[1:]:
            if reply.status_code == HTTPStatus.NOT_FOUND:
                reply = self._reply(url + path)
        if not reply.is_success:
            raise _no_engine(url, f"{paths[0]} answered {reply.status_code}")
        try:
            return msgspec.json.decode(reply.content, type=info)
        except msgspec.DecodeError as error:
            raise _no_engine(url, f"{paths[0]}: {error}") from None

    def _reply(self, url: str) -> httpx2.Response:
        try:
            reply = self._client.get(url)
        except httpx2.RequestError as error:
            raise _NotUp(str(error) or type(error).__name__) from None
        if reply.is_server_error:
            msg = f"it answers {reply.status_code}"
            raise _NotUp(msg)
        return reply


def _context_length(server: _ServerInfo) -> int | None:
    """The server's; where it was taken from the model, only its longest input tells."""
    if server.context_length or not server.max_req_input_len:
        return server.context_length
    return server.max_req_input_len + _NOT_INPUT_TOKENS


def _no_engine(url: str, what: str) -> ConfigError:
    msg = f"runtime_urls: {url} answers like neither SGLang nor vLLM: {what}; name servers of these"
    return ConfigError(msg)
