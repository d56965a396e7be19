"""Whether a new leader could learn what each instance holds."""

from collections.abc import Iterator, Sequence

from preble.broker.facts import InstanceFacts
from preble.doctor.findings import NEARLY_FULL, Finding, several


def examine(instances: Sequence[InstanceFacts]) -> Iterator[Finding]:
    """Findings about the block events of instances."""
    for instance in instances:
        yield from _gap(instance)
        yield from _old_snapshot(instance)
        yield from _other_life(instance)


def _gap(instance: InstanceFacts) -> Iterator[Finding]:
    events = instance.events
    if events.lost_batches:
        lost = several(events.lost_batches, "event batch", "es")
        yield Finding(
            "warning", "events",
            f"{instance.instance_id}: {lost} lost between snapshot {events.snapshot_seq} and the "
            f"stream, which ends at {events.last_seq}",
            "A new leader would not know what it holds, and miss hits there.",
            f"wait for its next snapshot, or restart the worker of {instance.instance_id}",
        )  # fmt: skip


def _old_snapshot(instance: InstanceFacts) -> Iterator[Finding]:
    events = instance.events
    behind = events.batches_since_snapshot
    if not events.lost_batches and behind > NEARLY_FULL * events.most_batches:
        yield Finding(
            "warning", "events",
            f"{instance.instance_id}: {behind:,} batches since its snapshot; the stream keeps "
            f"{events.most_batches:,}",
            "Once the oldest are trimmed, a new leader would not know what it holds.",
            f"see that Redis is not full; restart the worker of {instance.instance_id}",
        )  # fmt: skip


def _other_life(instance: InstanceFacts) -> Iterator[Finding]:
    if instance.events.is_taken_over:
        yield Finding(
            "note", "events",
            f"{instance.instance_id}: the newest block events are of another life",
            "Two workers may run under one name, and take it from each other.",
            "give each worker a name of its own: --instance",
        )  # fmt: skip
