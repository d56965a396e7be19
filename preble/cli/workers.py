"""`preble workers`: how the instances stand, and which get no more jobs. Over the HTTP api."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec
import typer

from preble.cli import completion, options
from preble.cli.api_calls import OperatorApi, operator_api
from preble.messages import InstanceState

app = typer.Typer(
    no_args_is_help=True,
    help="List the instances and their workers, drain them, resume them.",
    epilog="The api is found at --url or PREBLE_URL, and given the operator's key in "
    "PREBLE_API_KEY.",
)

Instances = Annotated[
    list[str],
    typer.Argument(
        metavar="INSTANCE", help="As `preble workers ls` names them.",
        autocompletion=completion.instances,
    ),
]  # fmt: skip

POLL_PERIOD_S: Final = 0.5
_COLUMNS: Final = "{:<16}  {:<10}  {:<9}  {:>7}  {:>6}  {:>5}  {:>5}  {:>6}  {:>9}  {}"
_HEAD: Final = ("INSTANCE", "STATE", "ENGINE", "RUNNING", "QUEUED", "KV", "HITS", "EVENTS",
                "HEARTBEAT", "VERSION")  # fmt: skip
_TAKES_JOBS: Final = frozenset({"ready", "quarantine"})


class Worker(msgspec.Struct, frozen=True):
    """An instance, as the api tells of it."""

    instance: str
    state: InstanceState
    engine: str | None = None
    version: str | None = None
    slots: int | None = None
    queued: int = 0
    running: int = 0
    kv_capacity_tokens: int | None = None
    kv_use: float | None = None
    hit_rate: float | None = None
    event_lag_batches: int = 0
    lost_batches: int = 0
    heartbeat_ago_s: float | None = None
    drained_at: float | None = None


class _Workers(msgspec.Struct, frozen=True):
    data: list[Worker]


@app.command("ls")
def list_workers(*, output: options.Output = "text", url: options.Url = None) -> None:
    """Print the instances.

    KV: share of the KV memory that jobs need. HITS: hit rate since the worker began. EVENTS:
    batches of block events since the last snapshot, with ! if some are lost. HEARTBEAT: seconds
    ago.
    """
    with operator_api(url) as api:
        workers = _all(api)
    if output == "text":
        typer.echo(_COLUMNS.format(*_HEAD))
    for worker in workers:
        typer.echo(_row(worker) if output == "text" else msgspec.json.encode(worker))


@app.command()
def drain(
    *,
    instances: Instances,
    is_awaited: Annotated[
        bool, typer.Option("--wait", help="Return when nothing runs there any more.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which to give up, with --wait.")
    ] = None,
    url: options.Url = None,
) -> None:
    """Give instances no more jobs, until they are resumed, whatever is restarted.

    Jobs that wait for them go to others; those that run there, or that their workers have claimed,
    end there. Exit status 1 if --wait gave up.
    """
    if timeout is not None and not is_awaited:
        raise typer.BadParameter("--timeout goes with --wait")
    with operator_api(url) as api:
        for name in instances:
            _print_state(api.ask("POST", "workers", name, "drain", kind=Worker))
        if not any(each.state in _TAKES_JOBS for each in _all(api)):
            typer.echo(
                "preble: no instance is left that takes jobs: they wait until one is resumed, or a "
                "worker comes", err=True,
            )  # fmt: skip
        if is_awaited:
            _await_empty(api, instances, timeout)


@app.command()
def resume(*, instances: Instances, url: options.Url = None) -> None:
    """Give drained instances jobs again."""
    with operator_api(url) as api:
        for name in instances:
            _print_state(api.ask("POST", "workers", name, "resume", kind=Worker))


def _all(api: OperatorApi) -> list[Worker]:
    return api.ask("GET", "workers", kind=_Workers).data


def _await_empty(api: OperatorApi, instances: Sequence[str], timeout_s: float | None) -> None:
    """Raises: Exit (1) if the time is over."""
    gives_up_s = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
    while busy := [each for each in _all(api) if each.instance in instances and _has_jobs(each)]:
        if time.monotonic() >= gives_up_s:
            names = ", ".join(f"{each.instance} runs {each.running}" for each in busy)
            typer.echo(f"preble: not empty after {timeout_s:g} s: {names}", err=True)
            raise typer.Exit(1)
        time.sleep(POLL_PERIOD_S)


def _has_jobs(worker: Worker) -> bool:
    """A dead one's are taken back by the scheduler, and are its no more then."""
    return bool(worker.queued + worker.running)


def _print_state(worker: Worker) -> None:
    held = f"{worker.running} running, {worker.queued} queued"
    typer.echo(f"{worker.instance} {worker.state}: {held}")


def _row(worker: Worker) -> str:
    return _COLUMNS.format(*_cells(worker)).rstrip()


def _cells(worker: Worker) -> Iterator[str]:
    lost = "!" if worker.lost_batches else ""
    heartbeat_s = worker.heartbeat_ago_s
    yield from (worker.instance, worker.state, worker.engine or "")
    yield from (str(worker.running), str(worker.queued))
    yield from (_percent(worker.kv_use), _percent(worker.hit_rate))
    yield f"{worker.event_lag_batches}{lost}"
    yield "" if heartbeat_s is None else f"{heartbeat_s:.1f}"
    yield worker.version or ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
