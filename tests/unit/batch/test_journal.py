"""A journal after a crash, beside another run, and on a disk that is full."""

import os
from pathlib import Path

import pytest

from preble.batch.journal import SYNC_PERIOD_S, CannotWrite, Journal
from preble.batch.lines import Defaults, Lines
from preble.batch.plan import Plan
from preble.batch.rows import Row
from preble.clock import ManualClock
from preble.errors import ConfigError


@pytest.mark.parametrize(
    ("there", "kept"),
    [
        (b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"torn", b""),
        (b"a\n" + b"x" * 3_000_000, b"a\n"),
    ],
)  # fmt: skip
def test_a_torn_last_line_is_cut_off(
    tmp_path: Path, clock: ManualClock, there: bytes, kept: bytes
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(there)
    with Journal(path, clock) as journal:
        journal.append([b"c", b"d"])
        journal.append([])
    assert path.read_bytes() == kept + b"c\nd\n"


def test_only_one_run_writes_at_a_time(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path, clock), pytest.raises(ConfigError, match="another run writes it"):
        Journal(path, clock)
    with Journal(path, clock):
        pass


def test_lines_come_to_disk_in_groups(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with Journal(tmp_path / "out.jsonl", clock) as journal:
        for _ in range(10):
            journal.append([b"a"])
        assert synced == []
        clock.advance(SYNC_PERIOD_S)
        journal.append([b"a"])
        journal.append([b"a"])
        assert len(synced) == 1
    assert len(synced) == 2


def test_a_full_disk_is_told(clock: ManualClock) -> None:
    with pytest.raises(CannotWrite, match="No space"), Journal(Path("/dev/full"), clock) as journal:
        journal.append([b"a"])


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        Journal(tmp_path / "missing" / "out.jsonl", clock)


def plan_of(*ids: str) -> Plan:
    return Plan(Lines(Defaults("m")).of(rows_of(*ids)))


def rows_of(*ids: str) -> list[Row]:
    return [Row(number, {"id": id_, "prompt": "x"}) for number, id_ in enumerate(ids, 1)]


def written(*ids: str) -> list[bytes]:
    lines = Lines(Defaults("m")).of(rows_of(*ids))
    return [b'{"id":"%b","key":"%b"}' % (li.id.encode(), li.key.hex().encode()) for li in lines]


def test_what_was_written_is_not_done_again() -> None:
    plan = plan_of("a", "b", "c", "d")
    plan.mark_done("OUT", written("b"))
    plan.mark_done("ERR", written("d"))
    plan.mark_done("ERR", [])
    left = plan.pending(Lines(Defaults("m")).of(rows_of("a", "b", "c", "d")))
    assert [line.id for line in left] == ["a", "c"]
    assert (len(plan), plan.num_done) == (4, 2)


def test_results_of_another_input_are_not_mixed_with_these() -> None:
    with pytest.raises(ConfigError, match=r"OUT holds results of other lines.*'z'.*--overwrite"):
        plan_of("a").mark_done("OUT", written("a", "z"))


@pytest.mark.parametrize("line", [b"", b"text", b'{"id": "a"}', b'{"key": "00"}', b"\xff"])
def test_a_file_of_something_else_is_not_gone_on_with(line: bytes) -> None:
    with pytest.raises(ConfigError, match="OUT: line 2 is none that"):
        plan_of("a").mark_done("OUT", [*written("a"), line])


@pytest.mark.parametrize("ids", [("a", "x"), ("a",), ("a", "b", "c")])
def test_an_input_that_changes_meanwhile_is_noticed(ids: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="since the start"):
        list(plan_of("a", "b").pending(Lines(Defaults("m")).of(rows_of(*ids))))


def test_doubles_are_named_by_their_lines() -> None:
    ids = ("a", "b", "a", "c", "b", "a")
    with pytest.raises(ConfigError) as refused:
        plan_of(*ids).refuse_doubles(Lines(Defaults("m")).of(rows_of(*ids)))
    assert str(refused.value) == (
        "ids must be unique: line 3 has the id 'a' of line 1; line 5 has the id 'b' of line 2; "
        "line 6 has the id 'a' of line 1"
    )


def test_ids_that_differ_are_no_doubles() -> None:
    plan_of("a", "b").refuse_doubles(Lines(Defaults("m")).of(rows_of("a", "b")))


def test_an_input_without_a_line_that_can_run_is_refused_with_its_first_error() -> None:
    with pytest.raises(ConfigError, match="the input has no lines"):
        Plan([])
    with pytest.raises(ConfigError, match=r"no line of the input can be run; row 1: exactly one"):
        Plan(Lines(Defaults("m")).of([Row(1, {}), Row(2, {"x": 1})]))
