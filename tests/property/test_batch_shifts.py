"""Drivers of a batch that die anywhere, or go on unknowingly: each line has one result."""

import contextlib
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preble_api.batches.folder import BatchFolder, BatchRecord, BatchState
from preble_api.batches.lines import LineError, result_id, unanswered_line
from preble_api.batches.schemas import BatchRequest
from preble_api.batches.shift import KINDS, Kind, Replaced, Shift, open_shift

BATCH_ID = "batch_" + "0" * 32
LINES = 12
REQUEST = BatchRequest("file-1", "/v1/completions", "24h")
RECORD = BatchRecord(BATCH_ID, "t", None, "m", 0, 1, REQUEST)


class Step(msgspec.Struct, frozen=True):
    """One driver's shift: the lines it writes, then how it dies."""

    writes: list[tuple[Kind, int]]
    """Into which part, and how many of the lines that are left."""
    torn_bytes: int
    """Of an append that was under way, in each part."""
    is_garbage: bool
    """Whether the disk kept other bytes instead."""
    late_lines: int
    """That the one before still writes, after this one has begun."""


STEPS = st.builds(
    Step,
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=4),
    st.integers(0, 60),
    st.booleans(),
    st.integers(0, 3),
)


def written(number: int) -> bytes:
    return unanswered_line(result_id(BATCH_ID, number), f"line-{number}", LineError("c", "m"))


def left(shift: Shift) -> list[int]:
    return [number for number in range(1, LINES + 1) if number not in shift.tally.done]


def write(shift: Shift, kind: Kind, numbers: Sequence[int]) -> None:
    """As the writer does: append, then count."""
    shift.append(kind, b"".join(written(number) for number in numbers))
    shift.tally.done.update(numbers)


def die(path: Path, step: Step) -> None:
    """In the middle of an append to either part."""
    torn = written(LINES)[: step.torn_bytes]
    for kind in KINDS:
        with (path / f"{kind}.jsonl").open("ab") as part:
            part.write(b"\0" * len(torn) if step.is_garbage else torn)


@contextlib.contextmanager
def new_batch() -> Generator[BatchFolder]:
    with tempfile.TemporaryDirectory() as name:
        folder = BatchFolder(Path(name))
        folder.found(RECORD)
        yield folder


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=5))
def test_every_line_has_one_result_whoever_dies_when(steps: list[Step]) -> None:
    with new_batch() as folder, contextlib.ExitStack() as open_files:

        def begin() -> Shift:
            shift = open_shift(folder)
            assert shift is not None
            open_files.callback(shift.close)
            return shift

        shift = begin()
        for step in steps:
            for kind, number in step.writes:
                write(shift, kind, left(shift)[:number])
            before, expected = shift, set(shift.tally.done)
            die(folder.shift_folder(folder.newest_shift()), step)
            shift = begin()
            torn_is_a_line = step.torn_bytes >= len(written(LINES)) and not step.is_garbage
            assert shift.tally.done - ({LINES} if torn_is_a_line else set()) == expected
            # The one before does not know that it was replaced.
            write(before, "output", left(before)[: step.late_lines])
        write(shift, "output", left(shift))
        lines = b"".join(each for kind in KINDS for each in shift.assembled(kind)).splitlines()
        ids = [msgspec.json.decode(each)["custom_id"] for each in lines]
        assert sorted(ids) == sorted(f"line-{number}" for number in range(1, LINES + 1))
        assert len(shift.tally.done) == LINES


class Late(BatchFolder):
    """A batch as one sees it who looked before another driver began."""

    def newest_shift(self) -> int:
        return 0


def test_of_two_drivers_who_looked_at_once_one_begins() -> None:
    with new_batch() as folder:
        first = open_shift(folder)
        assert first is not None
        with contextlib.closing(first):
            write(first, "output", [1])
            assert open_shift(Late(folder.path)) is None
            assert b"".join(first.assembled("output")) == written(1)


def test_a_driver_that_was_replaced_is_told() -> None:
    with new_batch() as folder:
        first, second = open_shift(folder), open_shift(folder)
        assert first is not None
        assert second is not None
        with contextlib.closing(first), contextlib.closing(second):
            second.require_newest()
            with pytest.raises(Replaced):
                first.require_newest()


def test_how_a_batch_ended_outlives_a_driver_that_comes_late() -> None:
    with new_batch() as folder:
        first = open_shift(folder)
        assert first is not None
        with contextlib.closing(first):
            first.save(BatchState("completed", completed_at=7))
            assert folder.drop_work()
        second = open_shift(folder)
        assert second is not None
        with contextlib.closing(second):
            assert folder.state().completed_at == 7


def test_when_lines_were_handed_over_outlives_their_driver() -> None:
    with new_batch() as folder:
        first = open_shift(folder)
        assert first is not None
        with contextlib.closing(first):
            first.hand_over(5)
            first.hand_over(9)
            at_s = first.handed_at_s(3)
            assert at_s <= first.handed_at_s(7)
        with (folder.shift_folder(1) / "handed.jsonl").open("ab") as log:
            log.write(b'{"end": 12, "at')
        second = open_shift(folder)
        assert second is not None
        with contextlib.closing(second):
            assert second.handed_end == 9
            assert second.handed_at_s(3) == at_s
