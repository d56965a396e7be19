"""What a client sees of a job."""

from typing import Final

from preble.messages import Assignment, JobResult, JobView, WebhookView
from preble_api.schemas import Failure, HitPrediction, JobStatus, Links, Placement, Result, Usage
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
        result=_result(view.result) if view.result else None,
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


def _result(result: JobResult) -> Result:
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
    )
