"""SGLang's `/model_info`, `/server_info`, `/v1/loads` and `/flush_cache`, told of a pool."""

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble import __version__
from preble.broker import Broker
from preble.clock import unix_s
from preble.messages import InstanceView, PoolRecord
from preble_api.errors import HttpError
from preble_api.openapi import problems, query_parameters, response_of
from preble_api.parsing import parse_query
from preble_api.principal import principal_of
from preble_api.sglang_schemas import Load, Loads, LoadsQuery, ModelInfo, ServerInfo
from preble_api.submitting import JSON

NO_FLUSH: Final = (
    "the KV caches belong to all who share the pool, and its prefix tree knows them; they are not "
    "emptied from here. Restart a worker to empty its engine's, or send another `cache_salt`"
)

_encode: Final = msgspec.json.Encoder().encode
_DOWN: Final = {"s503": "The queue cannot be reached."}


class ServerInfoRoutes:
    """What there is to know of the pool, under SGLang's names, old ones too."""

    def __init__(self, broker: Broker, pool: PoolRecord) -> None:
        self._broker = broker
        self._model = _encode(ModelInfo(pool.model, pool.model))
        self._server = _encode(
            ServerInfo(
                pool.model, pool.model, pool.context_length, pool.vocab_size, pool.page_size,
                pool.block_size, __version__,
            )
        )  # fmt: skip

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        for path in ("/model_info", "/get_model_info"):
            app.add_api_route(
                path, self.model_info, methods=["GET"], summary="The model, in SGLang's form",
                responses={200: response_of("The model.", ModelInfo)},
            )  # fmt: skip
        for path in ("/server_info", "/get_server_info"):
            app.add_api_route(
                path, self.server_info, methods=["GET"], summary="The pool, in SGLang's form",
                responses={200: response_of("The pool.", ServerInfo)},
            )  # fmt: skip
        app.add_api_route(
            "/v1/loads", self.loads, methods=["GET"],
            summary="What stands with each instance, in SGLang's form",
            description="Of all tenants, so a key of one is refused.",
            openapi_extra={"parameters": query_parameters(LoadsQuery)},
            responses={
                200: response_of("The instances, by name.", Loads),
                **problems(s400="A parameter is wrong; `error.param` names it.", **_DOWN),
            },
        )  # fmt: skip
        for method in ("GET", "POST"):
            app.add_api_route(
                "/flush_cache", self.flush_cache, methods=[method],
                status_code=HTTPStatus.NOT_IMPLEMENTED, summary="Not offered",
                description=f"Always 501: {NO_FLUSH}.", responses=problems(s501="Not offered."),
            )  # fmt: skip

    async def model_info(self, request: Request) -> Response:
        """The model."""
        del request
        return Response(self._model, media_type=JSON)

    async def server_info(self, request: Request) -> Response:
        """What the pool's processes agreed on."""
        del request
        return Response(self._server, media_type=JSON)

    async def loads(self, request: Request) -> Response:
        """What stands where. Raises: InvalidJob, HttpError (403), BrokerUnavailable."""
        principal_of(request.scope).require_all_tenants()
        asked = parse_query(request.query_params.multi_items(), LoadsQuery)
        found = list(_loads(await self._broker.roster.views()))
        if not isinstance(asked.dp_rank, msgspec.UnsetType):
            found = [each for each in found if each.dp_rank == asked.dp_rank]
        queued = (await self._broker.counts.stats()).waiting
        now = datetime.fromtimestamp(unix_s(), UTC).isoformat()
        return Response(_encode(Loads(now, __version__, queued, found)), media_type=JSON)

    async def flush_cache(self, request: Request) -> Response:
        """Say why not. Raises: HttpError (501)."""
        del request
        raise HttpError(HTTPStatus.NOT_IMPLEMENTED, "not_offered", NO_FLUSH)


def _loads(instances: list[InstanceView]) -> Iterator[Load]:
    there = [(each, each.record) for each in instances if each.record]
    for rank, (each, record) in enumerate(there):
        yield Load(
            rank, each.instance_id, each.running, each.assigned, each.running + each.assigned,
            record.slots, record.kv_capacity_tokens,
        )  # fmt: skip
