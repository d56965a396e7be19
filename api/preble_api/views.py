"""What a client sees of a job."""

from typing import Final

from msgspec import UNSET

from preble.messages import Assignment, JobResult, JobSpec, JobView, WebhookView
from preble_api.logprobs import each_token, tells_logprobs
from preble_api.schemas import (
    Failure,
    HitPrediction,
    JobStatus,
    LikelyToken,
    Links,
    OutputLogprob,
    Placement,
    Result,
    Usage,
)
from preble_api.transcript import Piece
from preble_api.webhooks.schemas import WebhookState

JOBS_PATH: Final = "/v1/jobs"


def links_of(job_id: str) -> Links:
    """Where the job is found."""
    path = f"{JOBS_PATH}/{job_id}"
    return Links(path, f"{path}/cancel", f"{path}/events", f"{path}/explain")


def status_of(view: JobView) -> JobStatus:
    """A job as it stands."""
    return JobStatus(
        id=view.job_id,
        status=view.state,
        position=view.position,
        created_at=view.submitted_at_s,
        started_at=view.started_at_s,
        ended_at=view.ended_at_s,
        deadline_at=view.deadline_at_s,
        attempt=view.attempt,
        prompt_tokens=view.spec.prompt_tokens,
        priority=view.spec.priority,
        tenant=view.spec.tenant,
        instance=view.instance_id,
        assignment=_placement(view.assignment) if view.assignment else None,
        result=_result(view.result, view.spec) if view.result else None,
        error=Failure(view.failure.code, view.failure.message) if view.failure else None,
        urls=links_of(view.job_id),
        webhook=_webhook(view.webhook) if view.webhook else None,
    )


def _webhook(webhook: WebhookView) -> WebhookState:
    return WebhookState(webhook.status, webhook.attempts, webhook.last_error)


def _placement(assignment: Assignment) -> Placement:
    return Placement(
        instance=assignment.instance_id,
        policy=assignment.policy,
        reason=assignment.reason,
        predicted_hit_tokens=assignment.predicted_hit_tokens,
        available_hit_tokens=assignment.available_hit_tokens,
    )


def logprobs_of(told: JobResult | Piece) -> list[OutputLogprob]:
    """How likely the tokens of an output were."""
    return [
        OutputLogprob(token_id, each.logprob, tuple(LikelyToken(*likely) for likely in each.top))
        for token_id, each in each_token(told)
    ]


def _result(result: JobResult, spec: JobSpec) -> Result:
    return Result(
        text=result.text,
        output_ids=result.output_ids,
        finish_reason=result.finish_reason,
        usage=Usage(result.prompt_tokens, result.completion_tokens, result.cached_tokens),
        prediction=HitPrediction(
            result.prediction.resident_tokens, result.prediction.expected_tokens
        ),
        ttft_s=result.ttft_s,
        engine_s=result.engine_s,
        logprobs=logprobs_of(result) if tells_logprobs(spec) else UNSET,
    )
