"""Why a job went where it went."""

from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.broker import Broker
from preble.explanation import Explanation, explain
from preble.messages import JobState
from preble_api.job_access import JobAccess
from preble_api.openapi import job_id_parameter, problems, response_of
from preble_api.submitting import JSON
from preble_api.views import JOBS_PATH

_encode: Final = msgspec.json.Encoder().encode


class ExplainRoutes:
    """`GET /v1/jobs/{job_id}/explain`."""

    def __init__(self, broker: Broker, access: JobAccess) -> None:
        self._broker = broker
        self._access = access

    def add_to(self, app: FastAPI) -> None:
        """Declare the route."""
        app.add_api_route(
            JOBS_PATH + "/{job_id}/explain", self.explain, methods=["GET"],
            summary="Why a job went where it went",
            description=(
                "What each instance was weighed by, the winner, and how many tokens of the prompt "
                "were available, predicted and delivered from the KV cache; of a job that is not "
                "placed, what it waits for."
            ),
            openapi_extra={"parameters": [job_id_parameter()]},
            responses={
                200: response_of("The decision, and what came of it.", Explanation),
                **problems(
                    s401="The api key is missing or wrong.",
                    s404="No such job.",
                    s410="The job has ended, and its result has expired.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

    async def explain(self, request: Request) -> Response:
        """One job. Raises: HttpError (404, 410), BrokerUnavailable."""
        view = await self._access.job(request)
        is_waiting = view.state is JobState.WAITING
        instances = (await self._broker.counts.stats()).instances if is_waiting else None
        return Response(_encode(explain(view, instances=instances)), media_type=JSON)
