"""A running vLLM server, in its own words.

Each request is one streamed `POST /v1/completions` with the prompt as token ids; closing its
connection aborts it. What the server is like stands in `/v1/models`, `/metrics` and
`/kv_event_sources`; one small request shows whether it tells token ids and cached tokens.
"""

from typing import Final

import httpx2

from preble.errors import ConfigError, EngineUnavailable
from preble_workers.dialect import EventReader, ServerFacts
from preble_workers.engine import EngineInfo, EngineRequest
from preble_workers.server_client import ServerClient
from preble_workers.token_teller import TokenTeller
from preble_workers.vllm_events import VLLMEvents
from preble_workers.vllm_metrics import engine_info, server_identity, server_load, step_figures
from preble_workers.vllm_wire import (
    Trial,
    VLLMReader,
    completion_body,
    event_endpoints,
    first_model,
    is_flush_refused,
    read_trial,
    trial_body,
)
from preble_workers.wire_errors import engine_error, error_message

VERSION: Final = "/version"
"""What SGLang does not have."""

_TRIAL_TIMEOUT: Final = httpx2.Timeout(60.0)
"""The trial waits its turn behind the requests of others."""


class VLLMDialect:
    """A `Dialect`; `client` reaches the server."""

    generate_path = "/v1/completions"

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        self._model = ""
        self._figures = ""

    async def ask(self, assumed: EngineInfo) -> ServerFacts:
        """What the server says of itself, and what a smallest request shows.

        Raises:
            ConfigError: If this is no vLLM that generates, or one that tells no token ids.
            EngineUnavailable: If it cannot be reached.
        """
        version = await self._client.get(VERSION)
        model = first_model(await self._client.get("/v1/models"))
        if version is None or model is None:
            msg = f"{self._client.url} does not answer like vLLM: no {VERSION} or no model"
            raise ConfigError(msg)
        self._model = model.id
        trial = await self._trial()
        metrics = await self._client.text("/metrics")
        return ServerFacts(
            server=f"vLLM {version.get('version', 'of unknown version')}",
            info=engine_info(model, metrics, assumed),
            identity=server_identity(metrics),
            events=event_endpoints(await self._client.get("/kv_event_sources"), self._client.url),
            tells_cached_tokens=trial.cached_tokens,
            load=server_load(metrics),
        )

    async def _trial(self) -> Trial:
        response = await self._client.post(
            self.generate_path, trial_body(self._model), within=_TRIAL_TIMEOUT
        )
        if not response.is_success:
            raise engine_error(response.status_code, error_message(response.content))
        trial = read_trial(response.content)
        if not trial.token_ids:
            msg = (
                f"the vLLM at {self._client.url} tells no token ids (return_token_ids): "
                "it is too old, update it"
            )
            raise ConfigError(msg)
        return trial

    def body(self, request: EngineRequest, rid: str) -> bytes:
        """As `Dialect.body`."""
        return completion_body(self._model, request, rid)

    def reader(self, teller: TokenTeller) -> VLLMReader:
        """As `Dialect.reader`."""
        return VLLMReader(teller)

    def event_reader(self, page_size: int) -> EventReader:
        """As `Dialect.event_reader`."""
        return VLLMEvents(page_size).read

    async def abort(self, rid: str) -> None:
        """The closed connection has said it already."""

    async def flush(self) -> bool:
        """As `Dialect.flush`; vLLM offers it to developers only (VLLM_SERVER_DEV_MODE=1).

        Raises:
            EngineUnavailable: While it runs requests.
        """
        response = await self._client.post("/reset_prefix_cache")
        if response.is_success and is_flush_refused(response.content):
            raise EngineUnavailable("the engine's cache cannot be emptied now: requests run")
        return response.is_success

    async def is_stepping(self) -> bool:
        """Whether one of the engine's figures has moved; where it has none, whether it is well."""
        try:
            figures = step_figures(await self._client.text("/metrics"))
        except EngineUnavailable:
            return False
        if not figures:
            return await self._client.is_success("/health")
        before, self._figures = self._figures, figures
        return figures != before
