"""`/v1/workers`: how each instance stands, and which are to get no more jobs. For operators."""

from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.broker import Broker
from preble.messages import InstanceId, InstanceView
from preble_api.errors import HttpError
from preble_api.openapi import instance_parameter, problems, response_of
from preble_api.principal import principal_of
from preble_api.submitting import JSON
from preble_api.worker_schemas import WorkerList, WorkerStatus, worker_status

WORKER_STRUCTS: Final = (WorkerStatus, WorkerList)

_encode: Final = msgspec.json.Encoder().encode
_DOWN: Final = "The queue cannot be reached."


class WorkerRoutes:
    """What an operator asks of the instances of a pool."""

    def __init__(self, broker: Broker) -> None:
        self._roster = broker.roster

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        app.add_api_route(
            "/v1/workers", self.all, methods=["GET"], summary="How each instance stands",
            description="Needs the scope `admin`.",
            responses={200: response_of("By name.", WorkerList), **problems(s503=_DOWN)},
        )  # fmt: skip
        one = {
            200: response_of("As it stands now.", WorkerStatus),
            **problems(s404="There is no such instance; those that are, are named.", s503=_DOWN),
        }
        app.add_api_route(
            "/v1/workers/{instance}/drain", self.drain, methods=["POST"], responses=one,
            summary="Give an instance no more jobs",
            description="What waits for it goes to others, what runs there ends there. It stays "
            "so until it is resumed, whatever is restarted. Needs the scope `admin`.",
            openapi_extra={"parameters": [instance_parameter()]},
        )  # fmt: skip
        app.add_api_route(
            "/v1/workers/{instance}/resume", self.resume, methods=["POST"], responses=one,
            summary="Give an instance jobs again", description="Needs the scope `admin`.",
            openapi_extra={"parameters": [instance_parameter()]},
        )  # fmt: skip

    async def all(self, request: Request) -> Response:
        """How each instance stands. Raises: HttpError (403), BrokerUnavailable."""
        _require_operator(request)
        listed = WorkerList([worker_status(view) for view in await self._roster.views()])
        return Response(_encode(listed), media_type=JSON)

    async def drain(self, request: Request) -> Response:
        """Give it no more jobs. Raises: HttpError (403, 404), BrokerUnavailable."""
        _require_operator(request)
        instance = await self._known(request)
        if not await self._roster.drain(instance):
            raise _unknown(instance, await self._roster.views())
        return await self._status(instance)

    async def resume(self, request: Request) -> Response:
        """Give it jobs again. Raises: HttpError (403, 404), BrokerUnavailable."""
        _require_operator(request)
        instance = await self._known(request)
        await self._roster.resume(instance)
        return await self._status(instance)

    async def _known(self, request: Request) -> InstanceId:
        instance, views = request.path_params["instance"], await self._roster.views()
        if not any(view.instance_id == instance for view in views):
            raise _unknown(instance, views)
        return InstanceId(instance)

    async def _status(self, instance: InstanceId) -> Response:
        """One that was drained and gone is known no more once it is resumed."""
        views = await self._roster.views()
        for view in views:
            if view.instance_id == instance:
                return Response(_encode(worker_status(view)), media_type=JSON)
        return Response(_encode(worker_status(_gone(instance))), media_type=JSON)


def _require_operator(request: Request) -> None:
    principal = principal_of(request.scope)
    principal.require_all_tenants()
    principal.require("admin")


def _gone(instance: InstanceId) -> InstanceView:
    return InstanceView(
        instance_id=instance, state="gone", record=None, assigned=0, running=0, drained_at_s=None,
        renewed_ago_s=None, report=None, unsaved_batches=0, lost_batches=0,
    )  # fmt: skip


def _unknown(instance: str, views: list[InstanceView]) -> HttpError:
    names = ", ".join(view.instance_id for view in views) or "none"
    message = f"no instance is called {instance[:64]!r}; there are: {names}"
    return HttpError(HTTPStatus.NOT_FOUND, "instance_not_found", message, param="instance")
