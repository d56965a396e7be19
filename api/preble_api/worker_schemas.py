"""Instances and their workers, as an operator gets them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from preble.messages import InstanceState, InstanceView

Rate = Annotated[float, Meta(description="In 0..1.")]


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, and the worker that feeds it. What is null is not known."""

    instance: str
    state: Annotated[
        InstanceState,
        Meta(
            description="`ready`: it takes jobs. `quarantine`: it runs one alone that workers died "
            "of. `draining`: it gets no more jobs and has some. `drained`: it has none. `lost`: "
            "its lease ran out. `gone`: it left, and is drained if it comes back."
        ),
    ]
    engine: str | None
    version: Annotated[str, Meta(description="Of the worker's Preble.")] | None
    slots: Annotated[int, Meta(description="Jobs that its engine runs at once.")] | None
    queued: Annotated[int, Meta(description="Jobs that are assigned to it.")]
    running: Annotated[int, Meta(description="Jobs that its worker has claimed.")]
    kv_capacity_tokens: int | None
    kv_use: Annotated[Rate, Meta(description="Share of its KV memory that jobs need.")] | None
    hit_rate: (
        Annotated[Rate, Meta(description="Of the prompts completed in the worker's life.")] | None
    )
    event_lag_batches: Annotated[
        int, Meta(description="Block events since its last snapshot: a new scheduler reads them.")
    ]
    lost_batches: Annotated[int, Meta(description="Of these, those that Redis has no more.")]
    heartbeat_ago_s: Annotated[float, Meta(description="Seconds.")] | None
    drained_at: Annotated[float, Meta(description="Unix seconds.")] | None


class WorkerList(msgspec.Struct, frozen=True):
    """All instances of the pool, by name."""

    data: list[WorkerStatus]
    object: Literal["list"] = "list"


def worker_status(view: InstanceView) -> WorkerStatus:
    """An instance as it is answered."""
    record = view.record
    return WorkerStatus(
        instance=view.instance_id, state=view.state, engine=record.engine if record else None,
        version=(record.version or None) if record else None,
        slots=record.slots if record else None, queued=view.assigned, running=view.running,
        kv_capacity_tokens=record.kv_capacity_tokens if record else None,
        kv_use=_kv_use(view), hit_rate=_hit_rate(view), event_lag_batches=view.unsaved_batches,
        lost_batches=view.lost_batches, heartbeat_ago_s=view.renewed_ago_s,
        drained_at=view.drained_at_s,
    )  # fmt: skip


def _kv_use(view: InstanceView) -> float | None:
    if not (view.record and view.report and view.record.kv_capacity_tokens):
        return None
    return min(1.0, view.report.kv_used_tokens / view.record.kv_capacity_tokens)


def _hit_rate(view: InstanceView) -> float | None:
    if not (view.report and view.report.prompt_tokens):
        return None
    return view.report.hit_tokens / view.report.prompt_tokens
