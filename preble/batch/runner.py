"""One run of a batch, from its input and what is done of it to its output and report."""

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import msgspec

from preble.batch.formats import Format
from preble.batch.lines import Defaults, Line, Lines
from preble.batch.options import RunOptions
from preble.batch.outputs import Outputs
from preble.batch.plan import Plan
from preble.batch.report import Report, Tally
from preble.batch.rows import read_rows, readable
from preble.batch.run import LineRun, Progress
from preble.batch.state import load_state, save_state, state_path
from preble.client import Client, dated_key
from preble.clock import Clock, SystemClock
from preble.cost_model import CostModel


class Batch:
    """A batch that was looked at, with its outputs open.

    Args:
        source: Makes the lines, each time anew.
        plan: What is done.
        outputs: Where results go.
        options: How to run.
        defaults: For lines.
        failed_before: Lines that an earlier run could not get answered.
    """

    def __init__(
        self, source: "Source", plan: Plan, outputs: Outputs, options: RunOptions,
        defaults: Defaults, failed_before: int, clock: Clock,
    ) -> None:  # fmt: skip
        self._source = source
        self._plan = plan
        self._outputs = outputs
        self._options = options
        self._defaults = defaults
        self._failed_before = failed_before
        self._clock = clock

    @property
    def num_lines(self) -> int:
        """Of the input."""
        return len(self._plan)

    @property
    def num_left(self) -> int:
        """Lines to be run."""
        return len(self._plan) - self._plan.num_done

    def run(
        self,
        client: AbstractContextManager[Client],
        progress: AbstractContextManager[Progress],
        cost_model: CostModel,
    ) -> Report:
        """Run what is left; a server is not entered if nothing is.

        Raises:
            PrebleError: As `LineRun.run`.
        """
        tally = Tally(
            lines=len(self._plan), done_before=self._plan.num_done,
            failed_before=self._failed_before, cost_model=cost_model,
        )  # fmt: skip
        began_s = self._clock.now_s()
        if self.num_left:
            with client as server, progress as shown:
                began_s = self._clock.now_s()
                self._run(server, shown, tally)
        report = tally.report(self._clock.now_s() - began_s)
        if not report.left:
            self._outputs.finish()
        return report

    def _run(self, client: Client, progress: Progress, tally: Tally) -> None:
        run = LineRun(
            client, self._options, self._outputs, tally, run_key=self._run_key(),
            model=self._defaults.model, progress=progress, clock=self._clock,
        )  # fmt: skip
        is_complete = run.run(self._plan.pending(self._source.lines()))
        if self._options.is_to_stdout:
            return
        if not is_complete:
            self._run_key(is_new=True)  # its jobs were cancelled, and are not to be found again
        elif not tally.failed:
            state_path(self._options.out).unlink(missing_ok=True)

    def _run_key(self, *, is_new: bool = False) -> str:
        """Under which the jobs are known, also to the run that resumes this one."""
        options = self._options
        if options.is_to_stdout:
            return dated_key()
        is_new = is_new or options.is_retrying_failed or options.existing != "resume"
        queue = msgspec.json.encode(self._defaults.queue)
        state = load_state(options.out, queue, is_new=is_new)
        save_state(options.out, state)
        return state.run


class Source:
    """The lines of an input, as often as they are asked for.

    Args:
        path: That can be read twice.
        options: Its format.
        defaults: For lines.
    """

    def __init__(self, path: str, options: RunOptions, defaults: Defaults) -> None:
        self._path = path
        self._kind: Format = options.source_format
        self._lines = Lines(defaults)

    def lines(self) -> Iterator[Line]:
        """All of them, in order. Raises: ConfigError."""
        return self._lines.of(read_rows(self._path, self._kind))


@contextmanager
def opened(options: RunOptions, defaults: Defaults, clock: Clock | None = None) -> Generator[Batch]:
    """Look at the input and at what earlier runs wrote.

    Yields:
        The batch, ready to run.

    Raises:
        ConfigError: If it cannot be run as asked, before anything runs.
    """
    clock = clock or SystemClock()
    with ExitStack() as stack:
        source = Source(readable(options.source, stack), options, defaults)
        plan = Plan(source.lines())
        plan.refuse_doubles(source.lines())
        outputs = stack.enter_context(Outputs(options, clock))
        failed_before = outputs.mark_done(plan)
        yield Batch(source, plan, outputs, options, defaults, failed_before, clock)
