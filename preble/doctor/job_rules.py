"""What waits, what runs, and what is stuck."""

from collections.abc import Iterator, Sequence
from typing import Final

from preble.broker.facts import JobFacts, PoolFacts
from preble.broker.keys import PoolKeys
from preble.config import Settings
from preble.doctor.findings import NEARLY_FULL, Finding, lasting, several, size

LONG_WAIT_S: Final = 600.0
IDLE_AFTER_S: Final = 30.0
"""A job that waits so long while nothing runs at all was not just overlooked."""

_NAMED: Final = 3


def examine(pool: PoolFacts, settings: Settings) -> Iterator[Finding]:
    """Findings about the jobs of a pool."""
    yield from _counts(pool)
    yield from _bounds(pool.jobs, settings)
    yield from _ended(pool.jobs, settings)
    yield from _overdue(pool)
    yield from _released(pool.jobs)
    yield from _late(pool.jobs)
    yield from _stranded(pool.jobs)
    yield from _damaged(pool.jobs)
    yield from _unaccounted(pool, settings.pool)
    yield from _waits(pool.jobs)
    yield from _idle(pool)
    yield from _long_runs(pool.jobs, settings)


def _counts(pool: PoolFacts) -> Iterator[Finding]:
    ended = ", ".join(
        f"{pool.jobs.totals[name]:,} {name}"
        for name in ("completed", "failed", "cancelled", "expired", "requeued", "quarantined")
        if pool.jobs.totals.get(name)
    )
    yield Finding(
        "note", "jobs",
        f"{pool.jobs.waiting:,} waiting, {pool.assigned:,} assigned, {pool.jobs.leases:,} running; "
        f"so far {ended or 'none has ended'}",
        "What is requeued was taken back from a worker that died, hung or was stopped.",
    )  # fmt: skip


def _bounds(jobs: JobFacts, settings: Settings) -> Iterator[Finding]:
    of_jobs = f"{several(jobs.counted, 'job')} of at most {settings.max_jobs:,}"
    of_bytes = f"{size(jobs.prompt_bytes)} of prompts of at most {size(settings.max_prompt_bytes)}"
    number = len(jobs.ingresses)
    of_queues = f"{several(number, 'ingress queue')} of at most {settings.max_ingresses:,}"
    yield from _bound(of_jobs, jobs.counted / settings.max_jobs, "PREBLE_MAX_JOBS")
    share = jobs.prompt_bytes / settings.max_prompt_bytes
    yield from _bound(of_bytes, share, "PREBLE_MAX_PROMPT_BYTES")
    yield from _bound(of_queues, number / settings.max_ingresses, "PREBLE_MAX_INGRESSES")


def _bound(seen: str, share: float, setting: str) -> Iterator[Finding]:
    remedy = f"add workers, submit less, or raise {setting} of the apis"
    if share >= 1:
        yield Finding("broken", "jobs", seen, "Submits get 429 until jobs have ended.", remedy)
    elif share > NEARLY_FULL:
        yield Finding("warning", "jobs", seen, "At the bound, submits get 429.", remedy)


def _ended(jobs: JobFacts, settings: Settings) -> Iterator[Finding]:
    if jobs.ended_bytes > NEARLY_FULL * settings.max_ended_bytes:
        most = size(settings.max_ended_bytes)
        yield Finding(
            "note", "jobs",
            f"{size(jobs.ended_bytes)} of jobs that have ended, of at most {most}",
            "Beyond, those that ended first are forgotten before their results expire.",
            "raise PREBLE_MAX_ENDED_BYTES of all processes, or lower PREBLE_RESULT_TTL_S",
        )  # fmt: skip
    recounted = jobs.recounted_ended_bytes
    if recounted is not None and recounted != jobs.ended_bytes:
        counts = PoolKeys(settings.pool)("counts")
        yield Finding(
            "warning", "jobs",
            f"{jobs.ended_bytes:,} bytes of jobs that have ended counted, {recounted:,} there",
            "Keys were deleted behind Preble's back, or another version ran: the bound is wrong.",
            f"redis-cli HINCRBY {counts} ended_bytes {recounted - jobs.ended_bytes}",
        )  # fmt: skip


def _overdue(pool: PoolFacts) -> Iterator[Finding]:
    jobs = pool.jobs
    if not jobs.overdue:
        return
    longest_s = max((lease.overdue_s for lease in jobs.overdue_sample), default=0.0)
    where = sorted({lease.instance_id for lease in jobs.overdue_sample if lease.instance_id})
    which = _listed([lease.job_id for lease in jobs.overdue_sample], jobs.overdue)
    on = f", on {_listed(where, len(where))}" if where else ""
    yield Finding(
        "warning", "jobs",
        f"{several(jobs.overdue, 'lease')} overdue by up to {lasting(longest_s)}{on}: {which}",
        "Their worker died, or its engine makes no step; nobody has taken the jobs back.",
        "preble scheduler; if one leads, read its log and restart it",
    )  # fmt: skip


def _released(jobs: JobFacts) -> Iterator[Finding]:
    if jobs.released:
        yield Finding(
            "note", "jobs", f"{several(jobs.released, 'job')} handed back by workers",
            "The leader makes them wait again within a second.", "if they stay: preble scheduler",
        )  # fmt: skip


def _late(jobs: JobFacts) -> Iterator[Finding]:
    if jobs.late:
        yield Finding(
            "warning", "jobs", f"{several(jobs.late, 'job')} past the deadline",
            "The leader ends such jobs within a second; nobody does.",
            "preble scheduler; if one leads, read its log and restart it",
        )  # fmt: skip


def _stranded(jobs: JobFacts) -> Iterator[Finding]:
    for queue in jobs.stranded:
        name = queue.instance_id
        yield Finding(
            "broken", "jobs", f"{several(queue.jobs, 'job')} assigned to {name}, which is gone",
            "Nobody claims them, and the leader does not look there: they are stuck.",
            f"preble worker --instance {name}, until they have ended",
        )  # fmt: skip


def _damaged(jobs: JobFacts) -> Iterator[Finding]:
    if not jobs.damaged:
        return
    described = [f"{job.job_id} ({', '.join(job.missing)})" for job in jobs.damaged]
    named = _listed(described, len(described))
    yield Finding(
        "broken", "jobs",
        f"{len(jobs.damaged):,} of {several(jobs.sampled, 'job')} looked at lack a part: {named}",
        "Redis evicted it, or somebody deleted it: these jobs cannot be run.",
        "set maxmemory-policy noeviction, delete nothing by hand, and submit them again",
    )  # fmt: skip


def _unaccounted(pool: PoolFacts, name: str) -> Iterator[Finding]:
    if number := pool.unaccounted:
        where = "counted, in no queue and under no lease" if number > 0 else "queued, not counted"
        counts = PoolKeys(name)("counts")
        yield Finding(
            "warning", "jobs", f"{several(abs(number), 'job')} {where}",
            "Keys were deleted or lost behind Preble's back: the bounds no longer fit.",
            f"look again; if the number stays: redis-cli HINCRBY {counts} jobs {-number}",
        )  # fmt: skip


def _waits(jobs: JobFacts) -> Iterator[Finding]:
    for priority in ("high", "normal", "batch"):
        queues = [queue for queue in jobs.ingresses if queue.priority == priority]
        waits_s = [queue.oldest_s for queue in queues if queue.oldest_s is not None]
        if waits_s and max(waits_s) > LONG_WAIT_S:
            number = sum(queue.jobs for queue in queues)
            yield Finding(
                "note" if priority == "batch" else "warning", "jobs",
                f"of {several(number, 'job')} of priority {priority} the oldest has waited "
                f"{lasting(max(waits_s))}",
                "More comes in than the instances finish, or its tenant has had its share.",
                "add workers: preble worker --instance NAME on another GPU",
            )  # fmt: skip


def _idle(pool: PoolFacts) -> Iterator[Finding]:
    waits_s = [queue.oldest_s for queue in pool.jobs.ingresses if queue.oldest_s is not None]
    if not waits_s or max(waits_s) < IDLE_AFTER_S or pool.assigned or pool.jobs.leases:
        return
    if pool.alive and pool.leader_lease_s is not None:
        yield Finding(
            "warning", "jobs",
            f"{several(pool.jobs.waiting, 'job')} waiting for up to {lasting(max(waits_s))}, and "
            f"{several(len(pool.alive), 'instance')} with nothing to do",
            "The leader places none: its policy fails, or the jobs fit no instance.",
            "read the scheduler's log; PREBLE_LOG_LEVEL=debug preble scheduler",
        )  # fmt: skip


def _long_runs(jobs: JobFacts, settings: Settings) -> Iterator[Finding]:
    run_s = jobs.longest_run_s
    if run_s is not None and run_s > 2 * settings.max_run_s:
        yield Finding(
            "warning", "jobs", f"a job was claimed {lasting(run_s)} ago and has not ended",
            f"A run may take {lasting(settings.max_run_s)} (PREBLE_MAX_RUN_S): its worker hangs.",
            "restart the worker; the job runs again elsewhere",
        )  # fmt: skip


def _listed(names: Sequence[str], number: int) -> str:
    """The first names, and how many more of that number there are."""
    named = names[:_NAMED]
    more = number - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")
