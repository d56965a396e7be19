"""Whether a new leader could learn what an instance holds."""

import pytest
from doctor_support import EVENTS, INSTANCE, WELL, notes, only, problems
from msgspec.structs import replace

from preble.broker.facts import BlockEventFacts, PoolFacts


def pool(**changes: object) -> PoolFacts:
    return replace(WELL, instances=(replace(INSTANCE, events=replace(EVENTS, **changes)),))


@pytest.mark.parametrize(
    ("snapshot", "newest", "batches", "lost"),
    [
        (0, 0, 0, 0),  # it published nothing yet
        (0, 10, 10, 0),  # the stream has all from the first
        (0, 10, 9, 1),
        (100, 110, 10, 0),  # the stream begins right after the snapshot
        (100, 110, 4, 6),
        (110, 110, 3, 0),  # the snapshot is up to date
        (110, 0, 0, 0),  # and whatever becomes of the stream, nothing is lost
    ],
)
def test_lost_is_what_neither_snapshot_nor_stream_has(
    snapshot: int, newest: int, batches: int, lost: int
) -> None:
    events = BlockEventFacts(
        batches=batches, most_batches=4096, last_seq=newest, snapshot_seq=snapshot,
        is_taken_over=False,
    )  # fmt: skip

    assert events.lost_batches == lost


def test_a_gap_is_warned_of() -> None:
    finding = only(pool(snapshot_seq=0))

    assert (finding.level, finding.subject) == ("warning", "events")
    assert finding.seen == (
        "gpu0: 100 event batches lost between snapshot 0 and the stream, which ends at 4100"
    )


@pytest.mark.parametrize(("snapshot", "is_told"), [(824, False), (823, True)])
def test_an_old_snapshot_is_told_before_there_is_a_gap(snapshot: int, *, is_told: bool) -> None:
    """4,100 batches and a stream of 4,096: the gap is near beyond 3,276 batches."""
    found = problems(pool(snapshot_seq=snapshot, batches=4096))

    assert [finding.level for finding in found] == (["warning"] if is_told else [])
    if found:
        assert "3,277 batches since its snapshot; the stream keeps 4,096" in found[0].seen


def test_events_of_another_life_are_a_note() -> None:
    assert problems(pool(is_taken_over=True)) == []
    assert "gpu0: the newest block events are of another life" in notes(pool(is_taken_over=True))
