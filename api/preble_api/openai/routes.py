"""All of OpenAI's routes that are here, together."""

from typing import Final

import msgspec
from fastapi import FastAPI

from preble.broker import Broker
from preble.messages import PoolRecord
from preble_api.openai.chat import ChatReply, ChatRequest
from preble_api.openai.completion_routes import CompletionRoutes
from preble_api.openai.completions import CompletionReply, CompletionRequest
from preble_api.openai.desk import Desk
from preble_api.openai.models import ModelCard, ModelList, ModelRoutes
from preble_api.openai.response_routes import ResponseRoutes
from preble_api.openai.response_schemas import Response, ResponseDeleted, ResponseRequest
from preble_api.rendering import Rendering
from preble_api.waits import Waits

OPENAI_STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (
    ModelCard, ModelList, ChatRequest, ChatReply, CompletionRequest, CompletionReply,
    ResponseRequest, Response, ResponseDeleted,
)  # fmt: skip
"""For the description."""


def add_openai_routes(
    app: FastAPI, pool: PoolRecord, broker: Broker, desk: Desk, waits: Waits, rendering: Rendering
) -> None:
    """Declare them."""
    ModelRoutes(pool).add_to(app)
    CompletionRoutes(desk, waits, rendering).add_to(app)
    ResponseRoutes(broker, desk, waits, rendering).add_to(app)
