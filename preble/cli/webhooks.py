"""`preble webhooks`: those that nobody took. It works on Redis itself, as `preble keys` does."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
import typer

from preble.broker.redis import RedisBroker
from preble.broker.webhooks import MOST_DEAD, DeadWebhook, Webhooks
from preble.cli import options
from preble.config import load_settings
from preble.messages import JobId

app = typer.Typer(
    no_args_is_help=True,
    help="List the webhooks that were given up, and send them again.",
    epilog="They are kept in the Redis that --redis-url or PREBLE_REDIS_URL names, for --pool.",
)

_T = TypeVar("_T")
_COLUMNS: Final = "{:<44}  {:<9}  {:<20}  {:>8}  {:<32}  {}"
_HEAD: Final = ("JOB", "JOB ENDED", "GIVEN UP", "ATTEMPTS", "RECEIVER", "WHY")


@app.command("ls")
def list_dead(
    *,
    limit: Annotated[int, typer.Option(min=1, max=MOST_DEAD, help="Most webhooks to print.")] = 100,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
    output: options.Output = "text",
) -> None:
    """Print the webhooks that were given up, the newest first."""
    found = _with_webhooks(redis_url, pool, lambda webhooks: webhooks.dead(limit))
    if output == "text":
        typer.echo(_COLUMNS.format(*_HEAD))
    for letter in found:
        typer.echo(_row(letter) if output == "text" else msgspec.json.encode(letter))


@app.command()
def retry(
    *,
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="JOB")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
) -> None:
    """Send webhooks again that were given up, with attempts begun anew.

    Exit status 1 if one was not given up.
    """
    if bool(job_ids) == is_all:
        raise typer.BadParameter("give either JOBs or --all")
    named = [JobId(job_id) for job_id in job_ids or ()]
    retried = _with_webhooks(redis_url, pool, lambda webhooks: _retry(webhooks, named))
    for job_id, was_dead in retried:
        typer.echo(f"{job_id} pending" if was_dead else f"{job_id} was not given up")
    if not all(was_dead for _, was_dead in retried):
        raise typer.Exit(1)


async def _retry(webhooks: Webhooks, named: list[JobId]) -> list[tuple[JobId, bool]]:
    """The named ones, or all."""
    job_ids = named or [letter.job_id for letter in await webhooks.dead(MOST_DEAD)]
    return list(zip(job_ids, await webhooks.retry(job_ids), strict=True))


def _with_webhooks(
    redis_url: str | None, pool: str | None, call: Callable[[Webhooks], Awaitable[_T]]
) -> _T:
    """What one call says. Raises: ConfigError, BrokerUnavailable."""
    settings = load_settings(os.environ, redis_url=redis_url, pool=pool)

    async def ask() -> _T:
        broker = RedisBroker.from_settings(settings)
        try:
            return await call(broker.webhooks)
        finally:
            await broker.close()

    return asyncio.run(ask())


def _row(letter: DeadWebhook) -> str:
    given_up = datetime.fromtimestamp(letter.given_up_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    url = urlsplit(letter.webhook.url)
    return _COLUMNS.format(
        letter.job_id, letter.state, given_up, letter.attempts, f"{url.scheme}://{url.netloc}",
        letter.last_error,
    )  # fmt: skip
