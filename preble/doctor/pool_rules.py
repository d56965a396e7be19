"""Who runs a pool: its record, its leader, its instances."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from preble.broker.agreement import SCHEMA
from preble.broker.facts import InstanceFacts, PoolFacts
from preble.doctor.findings import Finding, Level, lasting, several

STALE_AFTER_S = 2.0
"""The leader takes dead instances off twice a second."""

_START_WORKER = "preble worker --instance NAME, or `preble serve`; read the logs of those there"


def examine(pool: PoolFacts, name: str) -> Iterator[Finding]:
    """Findings about who runs a pool."""
    yield from _schema(pool, name)
    yield from _founded(pool, name)
    yield from _leader(pool)
    yield from _alive(pool)
    yield from _drained(pool)
    for instance in pool.instances:
        yield from _stale(instance)
        yield from _record(instance)
        yield from _worker(instance)
    yield from _kinds(pool.alive)


def _schema(pool: PoolFacts, name: str) -> Iterator[Finding]:
    if pool.schema != SCHEMA:
        yield Finding(
            "broken", "pool",
            f"pool {name} has schema {pool.schema}, and this Preble speaks schema {SCHEMA}",
            "It runs another version: this one cannot join it, and may misread it.",
            "look with that version; docs/explanation/compatibility.md",
        )  # fmt: skip


def _founded(pool: PoolFacts, name: str) -> Iterator[Finding]:
    record = pool.record
    if record is None:
        yield Finding(
            "warning", "pool", f"pool {name} was never founded",
            "No api and no worker has joined it: it may be another pool, or another Redis.",
            "check PREBLE_POOL and PREBLE_REDIS_URL; `preble config show` shows them",
        )  # fmt: skip
    else:
        yield Finding(
            "note", "pool",
            f"pool {name} serves {record.model}: context of {record.context_length:,} tokens, "
            f"blocks of {record.block_size}, pages of {record.page_size}",
            "A process with other figures is refused.",
        )  # fmt: skip


def _leader(pool: PoolFacts) -> Iterator[Finding]:
    if pool.leader_lease_s is not None:
        left = lasting(pool.leader_lease_s)
        yield Finding(
            "note", "pool", f"a scheduler leads, in term {pool.terms}; its lease has {left} left",
            "One leader places jobs and takes back what the dead hold.",
        )  # fmt: skip
        return
    waiting = pool.jobs.waiting
    yield Finding(
        "broken" if waiting else "warning", "pool",
        f"no scheduler leads; {several(waiting, 'job')} waiting, {several(pool.terms, 'term')} "
        "so far",
        "Nothing is placed, and nothing is taken back from the dead.",
        "preble scheduler; two of them, and one takes over when the other dies",
    )  # fmt: skip


def _alive(pool: PoolFacts) -> Iterator[Finding]:
    alive, registered = len(pool.alive), len(pool.instances)
    pending = pool.jobs.waiting + pool.assigned
    if alive:
        yield Finding(
            "note", "pool", f"{several(alive, 'instance')} alive, of {registered} registered",
            "Jobs go only to those whose lease is renewed.",
        )  # fmt: skip
    else:
        yield Finding(
            "broken" if pending else "warning", "pool",
            f"no instance is alive, of {registered} registered; {several(pending, 'job')} pending",
            "Accepted jobs stay in the queue until a worker comes.", _START_WORKER,
        )  # fmt: skip


def _drained(pool: PoolFacts) -> Iterator[Finding]:
    if not pool.drained:
        return
    others = [each for each in pool.alive if each.instance_id not in pool.drained]
    names = ", ".join(pool.drained)
    pending = pool.jobs.waiting + pool.assigned
    level: Level = "note" if others else "broken" if pending else "warning"
    rest = "" if others else f", and no other is alive; {several(pending, 'job')} pending"
    yield Finding(
        level, "pool", f"{several(len(pool.drained), 'instance')} drained: {names}{rest}",
        "An operator said that they get no more jobs; no restart changes that.",
        f"preble workers resume {' '.join(pool.drained)}",
    )  # fmt: skip


def _stale(instance: InstanceFacts) -> Iterator[Finding]:
    name, left_s = instance.instance_id, instance.lease_left_s
    held = f"{several(instance.assigned_jobs, 'job')} assigned, {instance.running_jobs} running"
    if left_s is None:
        yield Finding(
            "note", "pool", f"{name} has left, {held}",
            "The leader takes it off within a second and hands its jobs back.",
            "if it stays: preble scheduler",
        )  # fmt: skip
    elif left_s < -STALE_AFTER_S:
        beat_s = instance.heartbeat_ago_s
        beat = "" if beat_s is None else f", last heartbeat {lasting(beat_s)} ago"
        yield Finding(
            "warning", "pool", f"{name} is stale: lease out for {lasting(-left_s)}, {held}{beat}",
            "Its worker is dead or cut off, and nobody has taken its jobs back.",
            f"preble scheduler takes them back; preble worker --instance {name} replaces it",
        )  # fmt: skip


def _record(instance: InstanceFacts) -> Iterator[Finding]:
    if instance.record is None:
        yield Finding(
            "warning", "pool", f"{instance.instance_id} has no record",
            "It was deleted, evicted or written by another version; no scheduler can use it.",
            f"restart the worker of {instance.instance_id}",
        )  # fmt: skip


def _worker(instance: InstanceFacts) -> Iterator[Finding]:
    if instance.is_alive and instance.heartbeat_ago_s is None:
        yield Finding(
            "note", "pool", f"{instance.instance_id} has no worker record in RQ",
            "Its jobs run, but RQ's tools do not show it; Redis was full when it registered.",
            f"restart the worker of {instance.instance_id} when it suits",
        )  # fmt: skip


def _kinds(instances: Sequence[InstanceFacts]) -> Iterator[Finding]:
    names: dict[str, list[str]] = defaultdict(list)
    for instance in instances:
        if record := instance.record:
            kind = f"engine {record.engine} with cost model {record.cost_model}"
            names[kind].append(instance.instance_id)
    if len(names) > 1:
        yield Finding(
            "note", "pool", "; ".join(f"{', '.join(who)}: {kind}" for kind, who in names.items()),
            "Each is predicted by its own cost model; a wrong one draws too many jobs, or too few.",
            "set PREBLE_ENGINE and PREBLE_COST_MODEL alike, unless the machines differ",
        )  # fmt: skip
