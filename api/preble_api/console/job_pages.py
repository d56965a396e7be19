"""Jobs as rows of a list, and as a page. Pure."""

import msgspec

from preble.explanation import Explanation, explain
from preble.messages import JobState, JobView
from preble_api.console.decision_card import Card, card_of
from preble_api.console.timeline import Timeline, timeline_of


class JobRow(msgspec.Struct, frozen=True):
    """A job in a list."""

    view: JobView
    took_s: float | None
    """From its submission to its end."""
    where: str
    """Its instance, or why it has no result."""


class JobPageContext(msgspec.Struct, frozen=True):
    """A job alone."""

    view: JobView
    told: Explanation
    timeline: Timeline
    card: Card | None
    text: str | None
    """Of its output; None if there is none, or it is hidden."""
    is_text_hidden: bool
    can_cancel: bool
    can_retry: bool


def row_of(view: JobView) -> JobRow:
    """A job in a list."""
    took_s = None if view.ended_at_s is None else view.ended_at_s - view.submitted_at_s
    return JobRow(view, took_s, view.failure.code if view.failure else view.instance_id or "")


def page_of(
    view: JobView, *, instances: int | None, now_s: float, shows_text: bool, may_submit: bool
) -> JobPageContext:
    """A job alone.

    Args:
        view: As it stands.
        instances: Registered now, if it waits.
        now_s: Unix seconds.
        shows_text: Whether outputs may be seen here.
        may_submit: Whether whoever looks may cancel it, and run it again.
    """
    told = explain(view, instances=instances)
    result = view.result
    return JobPageContext(
        view, told, timeline_of(view, now_s), card_of(told),
        text=result.text if result and shows_text else None,
        is_text_hidden=result is not None and not shows_text,
        can_cancel=may_submit and not view.state.is_terminal,
        can_retry=may_submit and view.state is JobState.FAILED,
    )  # fmt: skip
