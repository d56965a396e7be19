"""What the doctor says of a pool's leader and instances."""

from doctor_support import EMPTY, INSTANCE, WELL, notes, only, problems
from msgspec.structs import replace
from support import record

from preble.broker.facts import InstanceFacts, PoolFacts
from preble.messages import InstanceId


def with_instances(*instances: InstanceFacts) -> PoolFacts:
    return replace(WELL, instances=instances)


def instance(name: str, **changes: object) -> InstanceFacts:
    made = replace(INSTANCE, instance_id=InstanceId(name), record=record(name))
    return replace(made, **changes)


def idle(name: str, **changes: object) -> InstanceFacts:
    """One without jobs, so that the sums of the others stay right."""
    return instance(name, assigned_jobs=0, running_jobs=0, **changes)


def test_a_sound_pool_only_gets_notes() -> None:
    assert problems(WELL) == []
    assert "a scheduler leads, in term 1; its lease has 2.5 s left" in notes(WELL)
    assert "1 instance alive, of 1 registered" in notes(WELL)
    assert any("pool default serves m: context of 4,096 tokens" in note for note in notes(WELL))


def test_a_pool_that_was_never_founded_may_be_a_wrong_name() -> None:
    finding = only(replace(WELL, record=None))

    assert (finding.level, finding.seen) == ("warning", "pool default was never founded")
    assert "PREBLE_POOL" in finding.remedy


def test_without_a_leader_jobs_that_wait_make_it_broken() -> None:
    finding = only(replace(WELL, leader_lease_s=None))

    assert finding.level == "broken"
    assert "5 jobs waiting" in finding.seen
    assert "preble scheduler" in finding.remedy


def test_without_a_leader_an_empty_pool_is_only_warned() -> None:
    pool = replace(WELL, leader_lease_s=None, instances=(idle("gpu0"),), jobs=EMPTY)

    assert only(pool).level == "warning"


def test_without_an_instance_pending_jobs_make_it_broken() -> None:
    pool = replace(WELL, instances=(), jobs=replace(WELL.jobs, counted=8))

    finding = only(pool)

    assert (finding.level, finding.subject) == ("broken", "pool")
    assert finding.seen == "no instance is alive, of 0 registered; 5 jobs pending"
    assert "preble worker" in finding.remedy


def test_without_an_instance_an_empty_pool_is_only_warned() -> None:
    assert only(replace(WELL, instances=(), jobs=EMPTY)).level == "warning"


def test_an_instance_that_nobody_takes_off_is_stale() -> None:
    stale = idle("gpu1", lease_left_s=-75.0, heartbeat_ago_s=85.0)

    finding = only(with_instances(INSTANCE, stale))

    assert finding.level == "warning"
    assert finding.seen == (
        "gpu1 is stale: lease out for 75.0 s, 0 jobs assigned, 0 running, last heartbeat 85.0 s ago"
    )
    assert "--instance gpu1" in finding.remedy


def test_a_lease_that_just_ran_out_is_not_stale_yet() -> None:
    pool = with_instances(INSTANCE, idle("gpu1", lease_left_s=-1.9))

    assert problems(pool) == []
    assert "1 instance alive, of 2 registered" in notes(pool)


def test_an_instance_that_left_is_no_fault() -> None:
    pool = with_instances(INSTANCE, idle("gpu1", lease_left_s=None))

    assert problems(pool) == []
    assert "gpu1 has left, 0 jobs assigned, 0 running" in notes(pool)


def test_an_instance_without_a_record_cannot_be_used() -> None:
    finding = only(with_instances(INSTANCE, idle("gpu1", record=None)))

    assert (finding.level, finding.seen) == ("warning", "gpu1 has no record")


def test_an_instance_that_rq_does_not_show_is_told() -> None:
    pool = with_instances(INSTANCE, idle("gpu1", heartbeat_ago_s=None))

    assert problems(pool) == []
    assert "gpu1 has no worker record in RQ" in notes(pool)


def test_instances_of_two_kinds_are_told_and_those_of_one_kind_are_not() -> None:
    other = replace(record("gpu2"), cost_model="llama3_8b_h100")
    alike = with_instances(INSTANCE, idle("gpu1"))
    mixed = with_instances(INSTANCE, idle("gpu1"), idle("gpu2", record=other))

    told = (
        "gpu0, gpu1: engine noop with cost model mistral_7b_a6000; "
        "gpu2: engine noop with cost model llama3_8b_h100"
    )
    assert told in notes(mixed)
    assert not [note for note in notes(alike) if "cost model" in note]


def test_a_drained_instance_is_a_note_as_long_as_others_take_jobs() -> None:
    pool = with_instances(INSTANCE, idle("gpu1"))
    pool = replace(pool, drained=(InstanceId("gpu1"),))

    assert problems(pool) == []
    assert "1 instance drained: gpu1" in notes(pool)


def test_where_all_are_drained_jobs_that_wait_make_it_broken() -> None:
    finding = only(replace(WELL, drained=(InstanceId("gpu0"),)))

    assert finding.level == "broken"
    assert finding.seen == ("1 instance drained: gpu0, and no other is alive; 7 jobs pending")
    assert finding.remedy == "preble workers resume gpu0"
