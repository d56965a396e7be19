"""The seam between `HttpEngine` and what each engine's server calls things.

    HttpEngine ─ asks, sends, aborts ─▶ Dialect ─┬─ SGLangDialect   sglang_wire, sglang_events
                                                 └─ VLLMDialect     vllm_wire, vllm_events,
                                                                   vllm_metrics

`HttpEngine` keeps what is the same for all: calls and their ends, progress, page sources. A
dialect knows paths, bodies and the meaning of answers, of one server that it was found for.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from preble_workers.engine import Completion, EngineInfo, EngineRequest, PageEvent
from preble_workers.kv_events import Endpoints
from preble_workers.token_teller import TokenTeller

EventReader = Callable[[bytes], list[PageEvent]]
"""Reads the payloads of one server's KV events, in order. Raises: EventsLost."""


class ServerLoad(msgspec.Struct, frozen=True):
    """Requests that a server has, whoever sent them."""

    running: int
    waiting: int


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said of itself when asked."""

    server: str
    """Its name and version."""
    info: EngineInfo
    identity: object
    """Another after the server was started anew, if it says anything of the kind."""
    events: Endpoints | None = None
    """None if it publishes no KV events that can be followed."""
    tells_cached_tokens: bool = True
    load: ServerLoad | None = None
    """None if it does not say."""


class ReplyReader(Protocol):
    """Takes the events of one streamed answer."""

    def read(self, event: str) -> None:
        """The next event; what is new in it is told.

        Raises:
            EngineError: If the event tells of an error after which nothing can follow.
        """
        ...

    def completion(self, *, ttft_s: float) -> Completion:
        """What the events make together, after the last.

        Raises:
            EngineRefused: If they say that the request was wrong.
            EngineUnavailable: If they tell of another error, or an end too soon.
        """
        ...


class Dialect(Protocol):
    """One server, in its own words."""

    @property
    def generate_path(self) -> str:
        """Where requests are posted."""
        ...

    async def ask(self, assumed: EngineInfo) -> ServerFacts:
        """What the server offers; what it leaves out is assumed.

        Raises:
            ConfigError: If it is of no use here.
            EngineUnavailable: If it cannot be reached.
        """
        ...

    def body(self, request: EngineRequest, rid: str) -> bytes:
        """The JSON that asks for a streamed answer under the name `rid`.

        Raises:
            EngineRefused: If the server cannot do what is asked.
        """
        ...

    def reader(self, teller: TokenTeller) -> ReplyReader:
        """Reads the answer to the teller's request, and has it told."""
        ...

    def event_reader(self, page_size: int) -> EventReader:
        """Reads the KV events of one life of the server, from their first."""
        ...

    async def abort(self, rid: str) -> None:
        """Stop a request whose connection was closed. Raises: EngineUnavailable."""
        ...

    async def flush(self) -> bool:
        """Empty the server's cache. Returns: False if this server never can.

        Raises:
            EngineUnavailable: If it cannot now.
        """
        ...

    async def is_stepping(self) -> bool:
        """Whether the server computes, though no answer says so; False if it is not well."""
        ...
