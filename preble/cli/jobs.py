"""`preble jobs`: submit, look at, await and cancel jobs over the HTTP api.

The rest: `job_lists`, `job_explain`.

Ids and results go to stdout, everything else to stderr, so that commands can be joined:

    preble jobs submit --file jobs.jsonl | preble jobs wait - -o json
"""

import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress

from preble.cli import options
from preble.client import (
    Client,
    Job,
    JobFields,
    SubmissionUncertain,
    Usage,
    calls,
    dated_key,
    in_prefix_order,
)
from preble.config import Priority, load_settings
from preble.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    help="Submit jobs, look at them, await their results, cancel them, run them again.",
    epilog="The api is found at --url or PREBLE_URL, and given the key in PREBLE_API_KEY.",
)

STDIN = "-"
JobIds = Annotated[
    list[str], typer.Argument(metavar="ID", help="Job ids; - reads them from stdin.")
]


@app.command()
def submit(
    *,
    prompt: Annotated[
        str | None, typer.Argument(help="Text to complete; - reads it from stdin.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(help="JSON lines, each a job as POST /v1/jobs takes it; - for stdin."),
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest output, for PROMPT.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy, for PROMPT.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Draws the same output again, for PROMPT.")
    ] = None,
    logprobs: Annotated[
        int | None,
        typer.Option(help="Likeliest tokens to tell beside each of the output, for PROMPT."),
    ] = None,
    priority: Annotated[
        Priority | None,
        typer.Option(help="Of jobs that name none; `batch` ones are sorted by prefix."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Of jobs that name none.")] = None,
    deadline: Annotated[
        float | None,
        typer.Option(help="Seconds after which to stop jobs that name no `deadline_s`."),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Is told of the end of jobs that name none."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A name for all this: if it comes again, no job is made twice."),
    ] = None,
    output: options.Output = "text",
    url: options.Url = None,
) -> None:
    """Submit one prompt or a file of jobs, and print the ids."""
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give either PROMPT or --file")
    sampling = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed,
        "logprobs": logprobs,
    }  # fmt: skip
    given = {name: value for name, value in sampling.items() if value is not None}
    if file is not None and given:
        raise typer.BadParameter("a file's jobs carry their own sampling_params")
    jobs = read_jobs(file) if file is not None else [prompt_job(prompt or "", given)]
    queue = {
        "priority": priority, "tenant": tenant, "deadline_s": deadline,
        "webhook": {"url": webhook} if webhook else None,
    }  # fmt: skip
    defaults = {name: value for name, value in queue.items() if value is not None}

    def tell(job_id: str) -> None:
        print_line(job_id if output == "text" else msgspec.json.encode({"id": job_id}))

    with connected(url) as client:
        key = dated_key() if idempotency_key is None else idempotency_key
        submit_all(client, [{**defaults, **job} for job in jobs], tell, key)


def submit_all(
    client: Client,
    jobs: Sequence[JobFields],
    tell: Callable[[str], None],
    idempotency_key: str,
) -> None:
    """Submit any number of jobs, those of priority `batch` last and sorted by prefix.

    Args:
        client: To submit with.
        jobs: As the api takes them.
        tell: Told the ids in the order of the jobs, each as soon as all before it are known;
            if a call fails, those of all jobs that were accepted.
        idempotency_key: Of all of them; each call's has its number behind it.

    Raises:
        PrebleError: As `Client.submit`.
    """
    order = _best_order(jobs)
    places = iter(order)
    accepted: dict[int, str] = {}
    next_place = 0
    try:
        for number, call in enumerate(calls(jobs[place] for place in order), 1):
            ids = client.submit(call, idempotency_key=f"{idempotency_key}-{number}")
            # The ids go first, and end: a place more would be lost to the next call.
            accepted |= {place: job_id for job_id, place in zip(ids, places, strict=False)}
            while next_place in accepted:
                tell(accepted.pop(next_place))
                next_place += 1
    except SubmissionUncertain as error:
        raise error.under(idempotency_key) from error
    finally:
        for _, job_id in sorted(accepted.items()):
            tell(job_id)


def _best_order(jobs: Sequence[JobFields]) -> list[int]:
    batch = [place for place, job in enumerate(jobs) if job.get("priority") == "batch"]
    others = [place for place, job in enumerate(jobs) if job.get("priority") != "batch"]
    return others + [batch[at] for at in in_prefix_order([jobs[place] for place in batch])]


@app.command()
def get(*, job_ids: JobIds, output: options.Output = "text", url: options.Url = None) -> None:
    """Print jobs as they stand."""
    with connected(url) as client:
        for job_id in read_ids(job_ids):
            job = client.get(job_id)
            print_line(describe(job) if output == "text" else msgspec.json.encode(job))


@app.command()
def wait(
    *,
    job_ids: JobIds,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which to give up.")] = None,
    output: options.Output = "text",
    url: options.Url = None,
) -> None:
    """Wait until jobs have ended, and print their results.

    Exit status 1 if a job ended without one.
    """
    ids = read_ids(job_ids)
    with connected(url) as client, _bar(len(ids)) as on_progress:
        jobs = client.wait(
            ids,
            timeout_s=float("inf") if timeout is None else timeout,
            on_progress=on_progress,
        )
    for job in jobs:
        print_result(job, output, is_alone=len(jobs) == 1)
    if any(job.result is None for job in jobs):
        raise typer.Exit(1)


@app.command()
def cancel(*, job_ids: JobIds, output: options.Output = "text", url: options.Url = None) -> None:
    """End jobs, wherever they stand, and print how they ended; what has ended stays as it is."""
    with connected(url) as client:
        for job_id in read_ids(job_ids):
            job = client.cancel(job_id)
            print_line(f"{job.id} {job.status}" if output == "text" else msgspec.json.encode(job))


@contextmanager
def _bar(total: int) -> Generator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda ended: progress.update(task, completed=ended)


@contextmanager
def connected(url: str | None) -> Generator[Client]:
    """A client of the api that the flag or `PREBLE_URL` names."""
    settings = load_settings(os.environ, url=url)
    with Client(settings.url, api_key=settings.api_key) as client:
        yield client


def prompt_job(prompt: str, sampling: dict[str, int | float]) -> JobFields:
    """The job of one prompt; `-` reads it from stdin."""
    text = sys.stdin.read() if prompt == STDIN else prompt
    return {"prompt": text, "sampling_params": sampling}


def read_jobs(file: str) -> list[JobFields]:
    """The jobs of a file of JSON lines.

    Raises:
        ConfigError: If it cannot be read, or a line is no JSON object, naming the line.
    """
    return [_job(file, number, line) for number, line in enumerate(_lines(file), 1) if line.strip()]


def _lines(file: str) -> list[str]:
    try:
        if file == STDIN:
            return sys.stdin.read().splitlines()
        with open(file, encoding="utf-8") as lines:  # noqa: PTH123 - a name as the user wrote it
            return lines.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {file}: {error}"
        raise ConfigError(msg) from None


def _job(file: str, number: int, line: str) -> JobFields:
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError as error:
        msg = f"{file} line {number} is no job: {error}"
        raise ConfigError(msg) from None


def read_ids(job_ids: Iterable[str]) -> list[str]:
    """The ids, with `-` replaced by what stdin holds."""
    return [
        job_id
        for given in job_ids
        for job_id in (sys.stdin.read().split() if given == STDIN else [given])
    ]


def describe(job: Job) -> str:
    """A job for people: one line for each thing that is known."""
    result = job.result
    facts = {
        "id": job.id,
        "status": job.status.value,
        "priority": job.priority,
        "tenant": job.tenant,
        "position": job.position,
        "instance": job.instance,
        "reason": job.assignment and f"{job.assignment.policy}: {job.assignment.reason}",
        "tokens": result and _tokens(result.usage),
        "text": result and result.text,
        "error": job.error and f"{job.error.code}: {job.error.message}",
    }
    return "\n".join(f"{name:<9} {fact}" for name, fact in facts.items() if fact is not None)


def _tokens(usage: Usage) -> str:
    prompt = f"{usage.prompt_tokens} prompt ({usage.cached_tokens} cached)"
    return f"{prompt}, {usage.completion_tokens} output"


def print_result(job: Job, output: str, *, is_alone: bool) -> None:
    """Print what came of a job; its failure goes to stderr."""
    if output == "json":
        print_line(msgspec.json.encode(job))
    elif job.result is not None and is_alone:
        print_line(job.result.text)
    elif job.result is not None:
        print_line(f"{job.id}\t{job.result.text!r}")
    if job.error is not None:
        why = f"{job.error.code}: {job.error.message}"
        typer.echo(f"preble: job {job.id} {job.status}: {why}", err=True)


def print_line(line: str | bytes) -> None:
    """Print data, unadorned."""
    typer.echo(line)
