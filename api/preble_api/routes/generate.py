"""SGLang's `POST /generate` on the durable queue: submit, wait for the end, answer.

Each prompt becomes a job like any other; those of a list are admitted together or not at all. If
the client leaves, or this api is stopped, the jobs still run to their end and are found under the
ids in the header `x-preble-job`.

With `stream` the answer is an event stream of SGLang's form, whose events repeat the text
from its beginning. In silence come comments, which clients skip and proxies take as a sign of
life.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from fastapi import FastAPI
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from preble.errors import InvalidJob, KeyReused, PrebleError
from preble.messages import Submission
from preble.metrics import ApiMetrics
from preble.tokenizer import TokenTexts
from preble_api.admission import Admission
from preble_api.deadlines import with_deadline
from preble_api.disconnects import cancel_on_disconnect_parameter, cancels_if_gone
from preble_api.errors import refusal
from preble_api.generate_parsing import Generation, generation_of, in_our_names, parse_generate
from preble_api.generate_replies import COMMENT, DONE, Said, answer_of, error_event
from preble_api.generate_schemas import GenerateReply, GenerateRequest
from preble_api.idempotency import IDEMPOTENCY_KEY, fingerprint_of, under_key
from preble_api.intake import Intake
from preble_api.logprobs import require_few_together
from preble_api.merging import merged
from preble_api.openapi import (
    body_of,
    cancel_after_parameter,
    idempotency_key_parameter,
    list_of,
    prefer_parameter,
    problems,
    queue_parameters,
    response_of,
)
from preble_api.prefer import (
    JOB_HEADER,
    MOST_NAMED,
    deferred,
    ended_within,
    job_headers,
    preference_of,
)
from preble_api.principal import Principal, principal_of
from preble_api.queue_headers import with_queue
from preble_api.rendering import Rendering
from preble_api.rids import named_by_rids
from preble_api.schemas import JobAccepted, JobListAccepted
from preble_api.submitting import JSON, admit_request, require_json
from preble_api.waits import Waits

GENERATE_PATH: Final = "/generate"

_STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class GenerateRoutes:
    """`POST /generate`.

    Args:
        intake: Checks and tokenizes.
        admission: Writes to the queue.
        waits: Waits for jobs to end.
        metrics: Where jobs are counted.
        rendering: Makes answers.
    """

    def __init__(
        self, intake: Intake, admission: Admission, waits: Waits, metrics: ApiMetrics,
        rendering: Rendering,
    ) -> None:  # fmt: skip
        self._rendering = rendering
        self._intake = intake
        self._admission = admission
        self._waits = waits
        self._metrics = metrics

    def add_to(self, app: FastAPI) -> None:
        """Declare the route."""
        app.add_api_route(
            GENERATE_PATH, self.generate, methods=["POST"],
            summary="Complete prompts and wait for them, in SGLang's format",
            description=(
                "Each prompt becomes a job of the queue; it goes on if the client leaves, and is "
                f"found at `/v1/jobs` under its id in the header `{JOB_HEADER}`. With `stream` "
                "the answer is `text/event-stream`: events with all there is of it, as it grows, "
                "those of a list mixed, each with its `index`; then `[DONE]`."
            ),
            openapi_extra={
                "requestBody": body_of(GenerateRequest),
                "parameters": [
                    *queue_parameters(), cancel_after_parameter(), idempotency_key_parameter(),
                    cancel_on_disconnect_parameter(), prefer_parameter(),
                ],
            },
            responses={
                200: response_of(
                    "The answer; of a list, a list in its order.", GenerateReply,
                    list_of(GenerateReply),
                    **{JOB_HEADER: f"Ids of the jobs, in that order, if at most {MOST_NAMED}."},
                ),
                202: response_of("Not ended yet, as preferred.", JobAccepted, JobListAccepted),
                **problems(
                    s400="A field is wrong or not offered, or the engine refuses the prompt.",
                    s401="The api key is missing or wrong.",
                    s413="The body is too large.",
                    s415="The body is not declared as JSON.",
                    s422="The `Idempotency-Key`, or a UUID as `rid`, was used for another request.",
                    s429="The queue is full; come back after `Retry-After`.",
                    s409="The job was cancelled, or its deadline has passed.",
                    s500="The job failed; the message begins with its code.",
                    s503="The queue cannot be reached, or this api is being stopped.",
                    s504="The job has not ended yet; it goes on.",
                ),
            },
        )  # fmt: skip

    async def generate(self, request: Request) -> Response:
        """Complete prompts. Raises: HttpError, JobRejected, BrokerUnavailable."""
        try:
            require_json(request, "prompt")
            cancel_if_gone = cancels_if_gone(request)
            asked = parse_generate(await request.body())
            generation = _as_headers_say(request, generation_of(asked))
            submissions = await self._submit(request, generation)
            del asked  # it holds the prompts, and may wait for a day
            generation = generation._replace(jobs=())
        except PrebleError as error:
            self._metrics.jobs_rejected.labels(refusal(error).code).inc()
            raise
        job_ids = [each.job_id for each in submissions]
        if generation.is_streamed:
            return StreamingResponse(
                self._events(submissions, generation, cancel_if_gone=cancel_if_gone),
                headers=job_headers(job_ids) | _STREAM_HEADERS,
                media_type="text/event-stream",
            )
        preference = preference_of(request)
        views = await ended_within(
            self._waits, job_ids, preference.bound_s, is_gone=request.is_disconnected,
            cancel_if_gone=cancel_if_gone,
        )  # fmt: skip
        if views is None:
            return deferred(preference, job_ids)
        make = partial(
            answer_of, views, generation.rids, self._token_texts(generation),
            is_list=generation.is_list,
        )  # fmt: skip
        body = await self._rendering.of(views, make)
        return Response(body, headers=job_headers(job_ids) | preference.headers, media_type=JSON)

    def _token_texts(self, generation: Generation) -> TokenTexts | None:
        return self._rendering.token_texts if generation.has_logprob_texts else None

    async def _submit(self, request: Request, generation: Generation) -> Sequence[Submission]:
        submissions = await self._named(request, generation)
        followed = [
            self._waits.followed(each, is_streamed=generation.is_streamed) for each in submissions
        ]
        try:
            await admit_request(request, self._admission, self._metrics, followed)
        except KeyReused:
            if IDEMPOTENCY_KEY in request.headers:
                raise
            raise KeyReused("this rid was used before, for another request") from None
        return followed

    async def _named(self, request: Request, generation: Generation) -> Sequence[Submission]:
        """The jobs, under the ids that the request's key gives them, or their rids."""
        made = await self._made(generation, principal_of(request.scope))
        if IDEMPOTENCY_KEY in request.headers:
            return await under_key(request, made, self._intake.ids)
        fingerprint = await fingerprint_of(request)
        return named_by_rids(made, generation.rids, fingerprint, self._intake.ids)

    async def _made(self, generation: Generation, principal: Principal) -> Sequence[Submission]:
        jobs = generation.jobs
        principal.tenant_for(jobs[0].tenant)  # one for all, so its place in a list says nothing
        try:
            if len(jobs) == 1:
                return [await self._intake.one(jobs[0], principal)]
            made = await self._intake.many(jobs, principal)
            require_few_together(made)
        except InvalidJob as error:
            raise in_our_names(error) from None
        return made

    async def _events(
        self, submissions: Sequence[Submission], generation: Generation, *, cancel_if_gone: bool
    ) -> AsyncGenerator[bytes]:
        token_texts = self._token_texts(generation)
        said = [
            Said(each, rid, index if generation.is_list else UNSET, token_texts)
            for index, (each, rid) in enumerate(zip(submissions, generation.rids, strict=True))
        ]
        pieces = merged(
            [self._waits.pieces(each.job_id, cancel_if_gone=cancel_if_gone) for each in submissions]
        )
        async with aclosing(pieces):
            try:
                async for index, piece in pieces:
                    if piece is None:
                        yield COMMENT
                    else:
                        make = partial(said[index].event, piece)
                        yield await self._rendering.of([piece], make)
            except PrebleError as error:
                yield error_event(error)
            yield DONE


def _as_headers_say(request: Request, generation: Generation) -> Generation:
    """The same, in the queue and with the deadline that headers name. Raises: InvalidJob."""
    return generation._replace(jobs=with_deadline(request, with_queue(request, generation.jobs)))
