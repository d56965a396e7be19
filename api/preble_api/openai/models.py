"""`GET /v1/models`: the pool's one model."""

from http import HTTPStatus
from typing import Literal

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.clock import unix_s
from preble.messages import PoolRecord
from preble_api.errors import HttpError
from preble_api.openapi import problems, response_of
from preble_api.submitting import JSON

MODELS_PATH = "/v1/models"


class ModelCard(msgspec.Struct, frozen=True):
    """A model that is served here."""

    id: str
    created: int
    max_model_len: int
    owned_by: str = "preble"
    object: Literal["model"] = "model"


class ModelList(msgspec.Struct, frozen=True):
    """All of them."""

    data: list[ModelCard]
    has_more: bool = False
    object: Literal["list"] = "list"


class ModelRoutes:
    """What is served.

    Args:
        pool: Its record.
    """

    def __init__(self, pool: PoolRecord) -> None:
        # Nobody knows when the model was made: the time of this api's start is as good as any.
        self._card = ModelCard(pool.model, int(unix_s()), pool.context_length)

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        refused = problems(s401="The api key is missing or wrong.")
        app.add_api_route(
            MODELS_PATH, self.list_models, methods=["GET"],
            summary="List models", description="A pool serves one.",
            responses={200: response_of("All of them.", ModelList), **refused},
        )  # fmt: skip
        app.add_api_route(
            MODELS_PATH + "/{model:path}", self.show, methods=["GET"],
            summary="One model", description="Its name may hold slashes.",
            openapi_extra={"parameters": [_MODEL]},
            responses={
                200: response_of("It is served here.", ModelCard), **refused,
                **problems(s404="It is not."),
            },
        )  # fmt: skip

    async def list_models(self, request: Request) -> Response:
        """All models."""
        del request
        return _json(ModelList([self._card]))

    async def show(self, request: Request) -> Response:
        """One model. Raises: HttpError (404)."""
        if request.path_params["model"] != self._card.id:
            message = f"model: the model here is {self._card.id}"
            raise HttpError(HTTPStatus.NOT_FOUND, "model_not_found", message, param="model")
        return _json(self._card)


_MODEL = {
    "name": "model", "in": "path", "required": True, "description": "Its name.",
    "schema": {"type": "string", "maxLength": 512, "pattern": "^[!-~]+$"},
}  # fmt: skip


def _json(struct: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(struct), media_type=JSON)
