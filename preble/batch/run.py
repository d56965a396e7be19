"""The lines of a batch, run to their ends: handed over as there is room, then awaited.

pending ──window, sorted by prefix──▶ Flow ──ended──▶ in order, if asked ──▶ outputs
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, Protocol

from preble.batch.lines import Line
from preble.batch.options import RunOptions
from preble.batch.order import WINDOW_LINES, Sequence, by_prefix, windows
from preble.batch.outputs import Outputs
from preble.batch.report import Tally
from preble.batch.results import Answered, Ending, Failed, ending_of, written
from preble.client import Client, Flow, Job, JobUnknown, Outcome
from preble.clock import Clock
from preble.errors import PrebleError
from preble.messages import JobState

LOOK_S: Final = 1.0
"""Longest time without a word of progress."""

_ORDERED_WINDOWS: Final = 4
"""Lines that are sorted at once if the output is ordered, in numbers of jobs in flight."""


class TooManyFailed(PrebleError):
    """More lines failed than may."""


class Progress(Protocol):
    """Shows how far a run is."""

    def show(self, tally: Tally, num_open: int) -> None:
        """How it stands now; called often."""
        ...


class LineRun:
    """One run.

    Args:
        client: Of the api to use.
        run_key: Names the run's jobs, with the key of each line.
        model: That the api serves.
        options: How to run.
        outputs: Where results go.
        tally: Counts them.
        progress: Shows that.
        clock: Measures the deadline.
    """

    def __init__(
        self, client: Client, options: RunOptions, outputs: Outputs, tally: Tally, *,
        run_key: str, model: str, progress: Progress, clock: Clock,
    ) -> None:  # fmt: skip
        self._client = client
        self._options = options
        self._outputs = outputs
        self._tally = tally
        self._run_key = run_key.encode()
        self._model = model
        self._progress = progress
        self._clock = clock
        self._flow = Flow(self._body, max_inflight=options.max_inflight)
        self._ready: deque[Line] = deque()
        self._sequence: Sequence[Ending] = Sequence()
        self._lost: set[int] = set()
        self._is_stopping = False

    def run(self, pending: Iterable[Line]) -> bool:
        """Bring lines to their ends.

        Returns:
            Whether all are; else the deadline came first.

        Raises:
            TooManyFailed: If more failed than may.
            PrebleError: As `Client.map`, and `Journal.append`.
        """
        source = windows(pending, most_lines=self._window_lines)
        until_s = self._clock.now_s() + self._options.deadline_s
        while self._hand_over(source) or self._flow.num_open:
            if self._clock.now_s() >= until_s:
                self._stop()
                return False
            self._look()
        return True

    @property
    def _window_lines(self) -> int:
        if not self._options.is_reordered:
            return self._options.max_inflight
        few = _ORDERED_WINDOWS * self._options.max_inflight
        return min(few, WINDOW_LINES) if self._options.is_ordered else WINDOW_LINES

    # Handing over.

    def _hand_over(self, source: Iterator[list[Line]]) -> bool:
        """As much as there is room for. Returns: whether there was anything."""
        lines = list(islice(self._next_lines(source), self._flow.room))
        good = [line for line in lines if not line.wrong]
        bad = [Failed(line, "invalid_line", line.wrong) for line in lines if line.wrong]
        self._client.hand_over(self._flow, good)
        self._write([*bad, *self._endings(self._flow.take())])
        return bool(lines)

    def _next_lines(self, source: Iterator[list[Line]]) -> Iterator[Line]:
        while self._ready or self._refill(source):
            yield self._ready.popleft()

    def _refill(self, source: Iterator[list[Line]]) -> bool:
        """Take the next window, unless too much waits for its turn in the output."""
        if len(self._sequence) >= self._window_lines:
            return False
        window = next(source, None)
        if window is None:
            return False
        if self._options.is_ordered:
            self._sequence.announce(line.number for line in window)
        self._ready.extend(by_prefix(window) if self._options.is_reordered else window)
        return True

    def _body(self, line: Line) -> bytes:
        key = b"%b-%b" % (self._run_key, line.key.hex().encode())
        return b'%b,"idempotency_key":"%b"}' % (line.body[:-1], key)

    # Awaiting.

    def _look(self) -> None:
        if self._flow.num_open:
            self._client.look_at(self._flow, at_most_s=LOOK_S)
        self._write(list(self._endings(self._flow.take())))
        self._progress.show(self._tally, self._flow.num_open)

    def _endings(self, taken: Iterable[tuple[Line, Outcome]]) -> Iterator[Ending]:
        """What became of lines; one whose job is lost is handed over once more."""
        for line, outcome in taken:
            if isinstance(outcome, JobUnknown) and line.number not in self._lost:
                self._lost.add(line.number)
                self._ready.appendleft(line)
            elif not (self._is_stopping and _was_cancelled(outcome)):
                yield ending_of(line, outcome)

    def _write(self, endings: Iterable[Ending]) -> None:
        """Write and count them, each in its turn. Raises: TooManyFailed, CannotWrite."""
        answers: list[bytes] = []
        errors: list[bytes] = []
        is_flat = self._options.out_format != "jsonl"
        for ending in self._in_turn(endings):
            line = written(ending, model=self._model, is_flat=is_flat)
            (answers if isinstance(ending, Answered) else errors).append(line)
            self._tally.count(ending)
        self._outputs.answers.append(answers)
        self._outputs.errors.append(errors)
        most = self._options.max_errors
        if errors and most is not None and self._tally.failed > most:
            raise TooManyFailed(f"{self._tally.failed} lines failed, more than --max-errors {most}")

    def _in_turn(self, endings: Iterable[Ending]) -> Iterator[Ending]:
        for ending in endings:
            if self._options.is_ordered:
                yield from self._sequence.put(ending.line.number, ending)
            else:
                yield ending

    # Stopping.

    def _stop(self) -> None:
        """Let what is under way end now; what has an answer keeps it, the rest stays to be done."""
        self._is_stopping = True
        for job_id in self._flow.job_ids:
            with suppress(JobUnknown):
                self._client.cancel(job_id)
        while self._flow.num_open:
            self._look()


def _was_cancelled(outcome: Outcome) -> bool:
    return isinstance(outcome, Job) and outcome.status is JobState.CANCELLED
