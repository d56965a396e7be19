"""The `preble` command. Errors are one line on stderr; no expected error shows a traceback.

Exit status: 0 done, 1 it failed, 2 wrong usage or configuration, 130 interrupted. `preble doctor`
and `preble batch` have more.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from preble import __version__
from preble.cli import (
    batch,
    batch_detached,
    bench,
    cache,
    config,
    doctor,
    engine,
    fit_cost,
    front_door,
    job_explain,
    job_lists,
    jobs,
    keys,
    plot,
    processes,
    redis_accounts,
    simulate,
    webhooks,
    workers,
)
from preble.errors import ConfigError, PrebleError

__all__ = ["app", "main", "run"]

FAILED: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130

app = typer.Typer(
    name="preble",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A durable dispatcher for LLM inference jobs that knows what each GPU has cached.",
    epilog="Every flag can be set as PREBLE_<FLAG>, or in preble.toml; `preble config show` shows "
    "them all.",
)
for command in (
    processes.serve,
    processes.api,
    processes.scheduler,
    processes.worker,
    processes.demo,
):
    app.command()(command)
for name in front_door.SERVER_NAMES:
    app.command(name, help=front_door.SERVER_HELP)(front_door.server)
app.command("deploy_and_run", help=front_door.DEPLOY_HELP)(front_door.deploy_and_run)
jobs.app.command("list")(job_lists.list_jobs)
jobs.app.command("retry")(job_lists.retry)
jobs.app.command("explain")(job_explain.explain)
app.add_typer(jobs.app, name="jobs")
for detached in (
    batch_detached.submit,
    batch_detached.watch,
    batch_detached.fetch,
    batch_detached.cancel,
):
    batch.app.command()(detached)
app.add_typer(batch.app, name="batch")
app.add_typer(keys.app, name="keys")
app.add_typer(redis_accounts.app, name="redis")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(workers.app, name="workers")
app.add_typer(cache.app, name="cache")
app.add_typer(config.app, name="config")
app.add_typer(engine.app, name="engine")
app.add_typer(bench.app, name="bench")
app.command()(doctor.doctor)
app.command()(fit_cost.fit_cost)
app.command()(simulate.simulate)
app.command()(plot.plot)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if is_asked:
        typer.echo(f"preble {__version__}")
        raise typer.Exit


@app.callback()
def _preble(  # pyright: ignore[reportUnusedFunction]  # typer calls it
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run one command line. Returns the exit status."""
    try:
        return app(args=list(arguments), prog_name="preble", standalone_mode=False) or 0
    except typer.TyperException as error:
        return _complain(error.format_message(), error.exit_code)
    except ConfigError as error:
        return _complain(str(error), WRONG_USE)
    except PrebleError as error:
        return _complain(str(error), FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED


def _complain(message: str, status: int) -> int:
    # A command group without a command complains with its whole help.
    is_help = message.startswith("Usage:")
    typer.echo(message if is_help else f"preble: {' '.join(message.split())}", err=True)
    return status


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry of the console script."""
    # Whatever was started or created is then taken back, as after Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))
