"""`preble jobs list` and `preble jobs retry`: what is there, and what failed run again."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Final

import msgspec
import typer

from preble.cli import jobs, options
from preble.client import MAX_JOBS_PER_PAGE, Client, Job, RequestRefused
from preble.messages import JobState

Tenant = Annotated[str | None, typer.Option(help="Only its jobs.")]

_COLUMNS: Final = "{:<44}  {:<9}  {:<20}  {:<8}  {:<12}  {:>6}  {}"
_HEAD: Final = ("ID", "STATUS", "SUBMITTED", "PRIORITY", "TENANT", "TOKENS", "INSTANCE OR ERROR")
_OF_THE_JOB: Final = frozenset({404, 409, 410})
"""Refusals that say nothing of other jobs."""


def list_jobs(
    *,
    status: Annotated[JobState | None, typer.Option(help="Only jobs that stand so.")] = None,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to print.")] = 20,
    is_all: Annotated[bool, typer.Option("--all", help="Print them all.")] = False,
    output: options.Output = "text",
    url: options.Url = None,
) -> None:
    """Print jobs that have not expired, the newest first."""
    with jobs.connected(url) as client:
        page_jobs = MAX_JOBS_PER_PAGE if is_all else min(limit, MAX_JOBS_PER_PAGE)
        listed = client.list_jobs(status=status, tenant=tenant, page_jobs=page_jobs)
        if output == "text":
            jobs.print_line(_COLUMNS.format(*_HEAD))
        for job in islice(listed, None if is_all else limit):
            jobs.print_line(_row(job) if output == "text" else msgspec.json.encode(job))


def _row(job: Job) -> str:
    submitted = datetime.fromtimestamp(job.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    where = job.error.code if job.error else job.instance or ""
    row = _COLUMNS.format(
        job.id, job.status, submitted, job.priority, job.tenant, job.prompt_tokens, where
    )
    return row.rstrip()


def retry(
    *,
    job_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Job ids; - reads from stdin.")
    ] = None,
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="All that failed and have not expired.")
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="Only its jobs, with --all-failed.")] = None,
    output: options.Output = "text",
    url: options.Url = None,
) -> None:
    """Let failed jobs run again, and print how they stand; what has not ended stays as it is.

    Exit status 1 if one cannot: it ended otherwise, expired, or its prompt is no longer kept.
    """
    if bool(job_ids) == all_failed:
        raise typer.BadParameter("give either IDs or --all-failed")
    if tenant is not None and not all_failed:
        raise typer.BadParameter("--tenant goes with --all-failed")
    with jobs.connected(url) as client:
        ids = _failed(client, tenant) if all_failed else jobs.read_ids(job_ids or ())
        outcomes = [_retry(client, job_id, output) for job_id in ids]
    if not all(outcomes):
        raise typer.Exit(1)


def _failed(client: Client, tenant: str | None) -> Iterable[str]:
    """The oldest first, so that one that fails again meanwhile does not come again."""
    failed = client.list_jobs(status=JobState.FAILED, tenant=tenant, is_newest_first=False)
    return (job.id for job in failed)


def _retry(client: Client, job_id: str, output: str) -> bool:
    """Whether it runs again. Raises: PrebleError, for what others would meet, too."""
    try:
        job = client.retry(job_id)
    except RequestRefused as error:
        if error.status not in _OF_THE_JOB:
            raise
        typer.echo(f"preble: {error}", err=True)
        return False
    jobs.print_line(f"{job.id} {job.status}" if output == "text" else msgspec.json.encode(job))
    return True
