"""How far a batch is, on stderr: a bar, lines, JSON, or nothing."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from preble.batch.report import Tally
from preble.batch.run import Progress
from preble.clock import Clock, SystemClock

Kind = Literal["auto", "plain", "json", "none"]

PERIOD_S: Final = 5.0
"""Between two lines."""


@contextmanager
def progress_of(kind: Kind, total: int, clock: Clock | None = None) -> Generator[Progress]:
    """What shows a run of so many lines: `auto` is a bar on a terminal, else lines."""
    console = Console(stderr=True)
    if kind == "auto" and console.is_terminal:
        with _bar(console) as bar:
            yield _Bar(bar, total)
    else:
        lines = _Lines("plain" if kind == "auto" else kind, clock or SystemClock())
        yield lines
        lines.end()


def _bar(console: Console) -> RichProgress:
    columns = (
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    return RichProgress(*columns, console=console)


class _Bar:
    def __init__(self, bar: RichProgress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)

    def show(self, tally: Tally, num_open: int) -> None:
        facts = f"{tally.failed:,} failed, {num_open:,} open, hit rate {tally.hit_rate:.0%}"
        self._bar.update(self._task, completed=tally.ended, description=facts)


class _Lines:
    """A line now and then, and one at the end."""

    def __init__(self, kind: Kind, clock: Clock) -> None:
        self._kind = kind
        self._clock = clock
        self._began_s = self._shown_s = clock.now_s()
        self._last: tuple[Tally, int] | None = None

    def show(self, tally: Tally, num_open: int) -> None:
        self._last = tally, num_open
        if self._clock.now_s() - self._shown_s >= PERIOD_S:
            self._shown_s = self._clock.now_s()
            self._print(tally, num_open)

    def end(self) -> None:
        """How it stood last."""
        if self._last:
            self._print(*self._last)

    def _print(self, tally: Tally, num_open: int) -> None:
        if self._kind == "none":
            return
        elapsed_s = self._clock.now_s() - self._began_s
        line = _plain(tally) if self._kind == "plain" else _json(tally, num_open, elapsed_s)
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _plain(tally: Tally) -> str:
    return (
        f"{tally.ended:,} of {tally.lines:,} lines, {tally.failed:,} failed, "
        f"hit rate {tally.hit_rate:.0%}, {tally.output_tokens:,} output tokens"
    )


def _json(tally: Tally, num_open: int, elapsed_s: float) -> str:
    facts = {
        "lines": tally.lines, "ended": tally.ended, "ok": tally.ok, "failed": tally.failed,
        "open": num_open, "prompt_tokens": tally.prompt_tokens,
        "cached_tokens": tally.cached_tokens, "output_tokens": tally.output_tokens,
        "elapsed_s": round(elapsed_s, 1),
    }  # fmt: skip
    return msgspec.json.encode(facts).decode()
