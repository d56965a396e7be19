"""A running SGLang server, in its own words.

Each request is one streamed `POST /generate`; cancelling it posts `/abort_request`. While a
long prefill keeps all streams silent, `/health_generate` tells whether the server still steps:
a busy one answers it after its next step, at no cost.
"""

from typing import Final

from preble.errors import ConfigError, EngineUnavailable
from preble_workers.dialect import EventReader, ServerFacts, ServerLoad
from preble_workers.engine import EngineInfo, EngineRequest
from preble_workers.server_client import SHORT_TIMEOUT, STEP_TIMEOUT, ServerClient
from preble_workers.sglang_events import advertised_endpoints, parse_events
from preble_workers.sglang_wire import (
    SGLangReader,
    check_possible,
    engine_info,
    generate_body,
    honours_seeds,
    server_identity,
    server_load,
)
from preble_workers.token_teller import TokenTeller

MODEL_INFO: Final = "/model_info"
"""What only SGLang has."""


class SGLangDialect:
    """A `Dialect`; `client` reaches the server."""

    generate_path = "/generate"

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        self._honours_seeds = False

    async def ask(self, assumed: EngineInfo) -> ServerFacts:
        """What `/model_info` and `/server_info` say.

        Raises:
            ConfigError: If this is no SGLang that generates text in whole answers.
            EngineUnavailable: If it cannot be reached.
        """
        model_info = await self._client.get(MODEL_INFO)
        if model_info is None:
            msg = f"{self._client.url} does not answer like SGLang: no {MODEL_INFO}"
            raise ConfigError(msg)
        if model_info.get("is_generation") is False:
            msg = f"the model at {self._client.url} does not generate text"
            raise ConfigError(msg)
        # It is answered between two steps, and a step may be long.
        server_info = await self._client.get("/server_info", within=STEP_TIMEOUT) or {}
        if server_info.get("incremental_streaming_output"):
            msg = f"the server at {self._client.url} streams pieces: --incremental-streaming-output"
            raise ConfigError(f"{msg} must be off")
        self._honours_seeds = honours_seeds(server_info)
        return ServerFacts(
            server=f"SGLang {server_info.get('version', 'of unknown version')}",
            info=engine_info(server_info, assumed),
            identity=server_identity(server_info),
            events=advertised_endpoints(server_info, self._client.url),
            load=await self._load(),
        )

    async def _load(self) -> ServerLoad | None:
        """Older servers have no such page, and a busy one may take long: then it is not told."""
        try:
            return server_load(await self._client.get("/v1/loads?include=core"))
        except EngineUnavailable:
            return None

    def body(self, request: EngineRequest, rid: str) -> bytes:
        """As `Dialect.body`.

        Raises:
            EngineRefused: If a seed is asked for that the server would ignore, or too much.
        """
        check_possible(request.sampling, honours_seeds=self._honours_seeds)
        return generate_body(request, rid)

    def reader(self, teller: TokenTeller) -> SGLangReader:
        """As `Dialect.reader`."""
        return SGLangReader(teller)

    def event_reader(self, page_size: int) -> EventReader:
        """As `Dialect.event_reader`; SGLang's events need no memory."""
        return lambda payload: parse_events(payload, page_size=page_size)

    async def abort(self, rid: str) -> None:
        """Sooner than the server itself sees that the connection was closed.

        Raises:
            EngineUnavailable: If it cannot be reached.
        """
        await self._client.post("/abort_request", {"rid": rid}, within=SHORT_TIMEOUT)

    async def flush(self) -> bool:
        """As `Dialect.flush`. Raises: EngineUnavailable while it runs requests."""
        response = await self._client.post("/flush_cache")
        if not response.is_success:
            raise EngineUnavailable(f"the engine's cache cannot be emptied now: {response.text}")
        return True

    async def is_stepping(self) -> bool:
        """Whether a request of the server's own has made a step."""
        return await self._client.is_success("/health_generate")
