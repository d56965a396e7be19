"""`preble doctor`: what is wrong with a pool and its Redis, and what to do about it."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

import msgspec
import typer

from preble.broker.redis_facts import collect_facts
from preble.cli import options
from preble.clock import SystemClock
from preble.config import Settings, load_settings
from preble.doctor import LEVELS, Finding, Level, examine, worst
from preble.doctor.findings import several
from preble.errors import BrokerError
from preble.serve.network import without_password

STATUS: Final[Mapping[Level, int]] = {"note": 0, "warning": 1, "broken": 2}

Json = Annotated[bool, typer.Option("--json", help="Bare JSON on one line, for programs.")]


class Report(msgspec.Struct, frozen=True):
    """What is printed for programs."""

    pool: str
    redis_url: str
    """Without its password."""
    worst: Level
    findings: Sequence[Finding]


def doctor(
    *, redis_url: options.RedisUrl = None, pool: options.Pool = None, as_json: Json = False
) -> None:
    """Look at a running pool: what is wrong, why that matters, and the remedy.

    Changes nothing. Exit status 0 if all is well, 1 with warnings, 2 if something is broken or
    Redis cannot be reached.
    """
    settings = load_settings(os.environ, redis_url=redis_url, pool=pool)
    findings = asyncio.run(_diagnose(settings))
    report = Report(settings.pool, _shown(settings.redis_url), worst(findings), findings)
    if as_json:
        typer.echo(msgspec.json.encode(report))
    else:
        for line in describe(report):
            typer.echo(line)
    raise typer.Exit(STATUS[report.worst])


async def _diagnose(settings: Settings) -> list[Finding]:
    try:
        facts = await collect_facts(settings.redis_url, settings.pool, SystemClock())
    except BrokerError as error:
        why = "Nothing is accepted, placed or finished without it."
        remedy = "start it, or set PREBLE_REDIS_URL to the one that the apis use"
        return [Finding("broken", "redis", " ".join(str(error).split()), why, remedy)]
    return examine(facts, settings)


def _shown(redis_url: str) -> str:
    """A URL without what may be secret: a password may stand in the query, too."""
    return without_password(redis_url).partition("?")[0]


def describe(report: Report) -> Iterator[str]:
    """The report for people: the worst first, and how many of each level there are."""
    yield f"pool {report.pool} at {report.redis_url}"
    for finding in report.findings:
        yield f"{finding.level:8}  {finding.subject:6}  {finding.seen}"
        yield f"{'why':>18}  {finding.why}"
        if finding.remedy:
            yield f"{'remedy':>18}  {finding.remedy}"
    levels = [finding.level for finding in report.findings]
    broken, warnings, notes = (levels.count(level) for level in LEVELS)
    yield f"{broken} broken, {several(warnings, 'warning')}, {several(notes, 'note')}"
