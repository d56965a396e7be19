"""What a round waits for and how far it is: a bar on a terminal, lines elsewhere."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress_of(console: Console, policy: str, total: int) -> Generator[Callable[[int], None]]:
    """A bar on a terminal, elsewhere a line for each quarter."""
    if not console.is_terminal:
        yield _Quarters(console, policy, total)
        return
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(policy, total=total)
        yield lambda ended: progress.update(task, completed=ended)


@contextmanager
def waiting(console: Console, policy: str, what: str) -> Generator[None]:
    """Say what is waited for; on a terminal also for how long already."""
    if not console.is_terminal:
        console.print(f"{policy:<12} {what}", highlight=False)
        yield
        return
    columns = (TextColumn("{task.description:<12}"), TextColumn(what), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        progress.add_task(policy, total=None)
        yield


class _Quarters:
    """Prints a line each time another quarter of the jobs has ended."""

    def __init__(self, console: Console, policy: str, total: int) -> None:
        self._console = console
        self._policy = policy
        self._total = total
        self._shown = 0

    def __call__(self, ended: int) -> None:
        quarter = 4 * ended // self._total
        if quarter > self._shown:
            self._shown = quarter
            self._console.print(f"{self._policy:<12} {ended} of {self._total} jobs ended")
