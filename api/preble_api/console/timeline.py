"""A job's way through time, stage by stage. Pure.

    submitted ─ queued ─▶ assigned ─ queued there ─▶ claimed ─ held back ─▶ in the engine
              ─ prefill ─▶ first token ─ decode ─▶ ended

Claim and end are by the clock of Redis. When the engine began and when the first token came follows
from the durations that the worker measured, counted back from the end.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec

from preble.messages import JobState, JobView

_ENDINGS: Final = {
    JobState.COMPLETED: "completed", JobState.FAILED: "failed", JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "expired",
}  # fmt: skip


class Mark(msgspec.Struct, frozen=True):
    """A moment of a job's life."""

    name: str
    at_s: float
    """Unix seconds."""
    stage: str
    """What it does from here on; empty once it has ended."""


class Stage(msgspec.Struct, frozen=True):
    """From one moment to the next."""

    name: str
    took_s: float
    left: float
    """Of the whole time, 0..1."""
    share: float
    kind: str
    """By which it is coloured."""


class Timeline(msgspec.Struct, frozen=True):
    """All of it."""

    marks: list[Mark]
    stages: list[Stage]
    took_s: float
    has_ended: bool


_KINDS: Final = {
    "queued": "queued", "queued there": "there", "held back": "held", "prefill": "prefill",
    "decode": "decode", "running": "decode",
}  # fmt: skip


def timeline_of(view: JobView, now_s: float) -> Timeline:
    """The timeline of a job, until now if it has not ended.

    Args:
        view: The job as it stands.
        now_s: Unix seconds.
    """
    marks = sorted(_marks(view), key=lambda mark: mark.at_s)
    begun_s = marks[0].at_s
    over_s = marks[-1].at_s if view.ended_at_s else max(now_s, marks[-1].at_s)
    ends = [mark.at_s for mark in marks[1:]] + ([] if view.ended_at_s else [over_s])
    whole_s = max(over_s - begun_s, 1e-6)
    stages = [
        Stage(
            mark.stage, end_s - mark.at_s, (mark.at_s - begun_s) / whole_s,
            (end_s - mark.at_s) / whole_s, _KINDS.get(mark.stage, "queued"),
        )
        for mark, end_s in zip(marks, ends, strict=False)
    ]  # fmt: skip
    return Timeline(marks, stages, over_s - begun_s, view.ended_at_s is not None)


def _marks(view: JobView) -> Iterator[Mark]:
    yield Mark("submitted", view.submitted_at_s, "queued")
    if view.assigned_at_s is not None:
        yield Mark("assigned", view.assigned_at_s, "queued there")
    if view.started_at_s is not None:
        yield Mark("claimed", view.started_at_s, "held back" if view.result else "running")
    if view.ended_at_s is None:
        return
    if view.result is not None:
        earliest_s = view.started_at_s or view.submitted_at_s
        began_s = max(earliest_s, view.ended_at_s - view.result.engine_s)
        yield Mark("in the engine", began_s, "prefill")
        yield Mark("first token", max(began_s, view.ended_at_s - view.result.decode_s), "decode")
    yield Mark(_ENDINGS[view.state], view.ended_at_s, "")


def gaps_s(timeline: Timeline) -> list[float | None]:
    """Seconds from each mark to the one before it; None for the first."""
    return [None, *(b.at_s - a.at_s for a, b in pairwise(timeline.marks))]
