"""The Scheduler's decisions and what it believes, event by event."""

from msgspec.structs import replace
from support import record

from preble.cost_model import load_cost_model
from preble.messages import (
    AllBlocksCleared,
    Assignment,
    BlockEvent,
    BlocksRemoved,
    BlocksStored,
    EventBatch,
    InstanceId,
    JobEnded,
    JobId,
    JobSpec,
    PlacedJob,
    SamplingParams,
    Snapshot,
    WaitingJob,
    pack_keys,
)
from preble.policy import create_policy
from preble.scheduler import Scheduler

GPU0, GPU1 = InstanceId("gpu0"), InstanceId("gpu1")


def scheduler(policy: str = "e2", instances: tuple[str, ...] = ("gpu0", "gpu1")) -> Scheduler:
    made = Scheduler(create_policy(policy), block_size=64, history_s=180)
    for instance in instances:
        made.join(record(instance))
    return made


def waiting(name: str, blocks: int, *, extra_tokens: int = 10, branch: int = 0) -> WaitingJob:
    """A prompt of whole blocks and a rest; equal branches share all their blocks."""
    keys = [branch * 1_000 + block for block in range(1, blocks + 1)]
    spec = JobSpec(64 * blocks + extra_tokens, SamplingParams(max_new_tokens=4))
    return WaitingJob(JobId(name), "ingress", spec, pack_keys(keys))


def assign(made: Scheduler, job: WaitingJob, now_s: float = 0.0) -> Assignment:
    assignment = made.assign(job, now_s=now_s)
    assert assignment
    return assignment


def events(instance: InstanceId, seq: int, *told: BlockEvent, epoch: str = "e1") -> EventBatch:
    return EventBatch(instance, epoch, seq, told)


def stored(*keys: int) -> BlocksStored:
    return BlocksStored(pack_keys(keys))


def test_no_instance_no_assignment() -> None:
    assert scheduler(instances=()).assign(waiting("a", 2), now_s=0) is None


def test_a_resident_prefix_is_exploited() -> None:
    made = scheduler()
    assert made.fold(events(GPU1, 1, stored(1, 2, 3)))
    decided = assign(made, waiting("a", 4))
    assert (decided.instance_id, decided.reason) == (GPU1, "exploit")
    assert (decided.resident_hit_tokens, decided.expected_hit_tokens) == (192, 0)
    assert decided.available_hit_tokens == 192
    assert [candidate.instance_id for candidate in decided.candidates] == [GPU0, GPU1]


def test_half_a_prefix_or_less_is_explored() -> None:
    made = scheduler()
    made.fold(events(GPU1, 1, stored(1, 2)))
    for name in ("x", "y"):  # load gpu1, so that exploring means gpu0
        made.restore(PlacedJob(JobId(name), GPU1, waiting(name, 9).spec, pack_keys([])), now_s=0)
    decided = assign(made, waiting("a", 4))
    assert (decided.instance_id, decided.reason) == (GPU0, "explore")
    assert (decided.resident_hit_tokens, decided.available_hit_tokens) == (0, 128)


def test_a_burst_with_one_prefix_lands_together() -> None:
    made = scheduler()
    first = assign(made, waiting("a", 8))
    second = assign(made, waiting("b", 8))
    assert second.instance_id == first.instance_id
    assert (second.reason, second.resident_hit_tokens) == ("exploit", 0)
    assert second.expected_hit_tokens == 512


def test_different_prefixes_spread() -> None:
    made = scheduler()
    homes = {assign(made, waiting(str(i), 8, branch=i)).instance_id for i in range(2)}
    assert homes == {GPU0, GPU1}


def test_expected_blocks_end_with_the_job() -> None:
    made = scheduler()
    home = assign(made, waiting("a", 8)).instance_id
    made.ended(JobEnded(JobId("a"), home, 4), now_s=1)
    assert assign(made, waiting("b", 8)).available_hit_tokens == 0


def test_expected_and_resident_are_told_apart() -> None:
    made = scheduler()
    home = assign(made, waiting("a", 8)).instance_id
    made.fold(events(home, 1, stored(1, 2, 3)))
    decided = assign(made, waiting("b", 8))
    assert (decided.resident_hit_tokens, decided.expected_hit_tokens) == (192, 320)


def test_the_last_token_is_never_a_hit() -> None:
    made = scheduler()
    made.fold(events(GPU0, 1, stored(1, 2)))
    assert assign(made, waiting("a", 2, extra_tokens=0)).predicted_hit_tokens == 127


def test_evicted_blocks_are_no_hits() -> None:
    made = scheduler()
    made.fold(events(GPU0, 1, stored(1, 2, 3, 4)))
    made.fold(events(GPU0, 2, BlocksRemoved(pack_keys([4, 3]))))
    assert assign(made, waiting("a", 4)).available_hit_tokens == 128
    made.fold(events(GPU0, 3, AllBlocksCleared()))
    assert assign(made, waiting("b", 4, branch=0)).resident_hit_tokens == 0


def test_a_gap_asks_for_a_snapshot_and_goes_on_from_it() -> None:
    made = scheduler()
    assert made.fold(events(GPU0, 1, stored(1)))
    assert not made.fold(events(GPU0, 3, stored(3)))
    made.load_snapshot(Snapshot(GPU0, "e1", 3, (stored(1, 2, 3),)))
    assert made.fold(events(GPU0, 3, stored(9)))  # folded with the snapshot already
    assert made.fold(events(GPU0, 4, BlocksStored(pack_keys([4]), parent_key=3)))
    assert assign(made, waiting("a", 5)).available_hit_tokens == 256
    assert made.cached_blocks == 4


def test_a_gap_that_no_snapshot_closes_costs_what_was_held_and_no_more() -> None:
    made = scheduler()
    made.fold(events(GPU0, 1, stored(1, 2)))
    late = events(GPU0, 5, stored(3))
    assert not made.fold(late)
    made.load_snapshot(Snapshot(GPU0, "e1", 1, (stored(1, 2),)))
    assert made.is_behind(late)
    made.restart_blocks(late)
    assert made.cached_blocks == 1
    assert made.fold(events(GPU0, 6, stored(4)))
    assert not made.is_behind(events(GPU0, 7))


def test_an_older_snapshot_changes_nothing() -> None:
    made = scheduler()
    made.fold(events(GPU0, 1, stored(1)))
    made.fold(events(GPU0, 2, stored(2)))
    made.load_snapshot(Snapshot(GPU0, "e1", 1, (stored(1),)))
    assert made.cached_blocks == 2


def test_another_life_starts_with_an_empty_cache_and_keeps_its_queue() -> None:
    made = scheduler(instances=("gpu0",))
    made.fold(events(GPU0, 1, stored(1, 2)))
    assign(made, waiting("a", 4))
    made.join(replace(record("gpu0"), epoch="e2"))
    assert made.cached_blocks == 0
    assert made.fold(events(GPU0, 2, stored(7)))  # of the earlier life: ignored
    assert made.cached_blocks == 0
    assert made.fold(events(GPU0, 1, stored(7), epoch="e2"))
    assert assign(made, waiting("b", 4)).expected_hit_tokens == 256


def test_joining_twice_is_joining_once() -> None:
    made = scheduler()
    made.fold(events(GPU0, 1, stored(1)))
    made.join(record("gpu0"))
    assert made.cached_blocks == 1


def test_an_instance_that_leaves_takes_everything_along() -> None:
    made = scheduler()
    made.fold(events(GPU0, 1, stored(1, 2, 3, 4)))
    assign(made, waiting("a", 4))
    made.leave(GPU0)
    decided = assign(made, waiting("b", 4))
    assert (decided.instance_id, decided.available_hit_tokens) == (GPU1, 0)
    made.leave(GPU1)
    made.leave(GPU1)
    assert made.assign(waiting("c", 4), now_s=0) is None


def test_a_job_that_waits_again_is_counted_once() -> None:
    made = scheduler(instances=("gpu0",))
    assign(made, waiting("a", 4))
    assign(made, waiting("a", 4))
    made.forget(JobId("a"))
    assert assign(made, waiting("b", 4)).available_hit_tokens == 0


def test_what_an_earlier_leader_placed_is_expected() -> None:
    made = scheduler()
    job = waiting("a", 8)
    made.restore(PlacedJob(job.job_id, GPU1, job.spec, job.block_keys), now_s=0)
    made.restore(PlacedJob(job.job_id, GPU1, job.spec, job.block_keys), now_s=0)
    decided = assign(made, waiting("b", 8))
    assert (decided.instance_id, decided.expected_hit_tokens) == (GPU1, 512)
    made.forget(JobId("a"))
    made.forget(JobId("b"))
    assert assign(made, waiting("c", 8)).available_hit_tokens == 0


def test_round_robin_takes_turns_whatever_is_cached() -> None:
    made = scheduler("round_robin")
    made.fold(events(GPU0, 1, stored(1, 2, 3)))
    turns = [assign(made, waiting(str(i), 3)).instance_id for i in range(4)]
    assert turns == [GPU0, GPU1, GPU0, GPU1]


def test_load_and_prefill_are_the_cost_models_seconds() -> None:
    """Two prompts of 522 tokens: L of the first is P(522) + 45 decode steps over 522 tokens."""
    made = scheduler(instances=("gpu0",))
    assign(made, waiting("a", 8, branch=1))
    (candidate,) = assign(made, waiting("b", 8, branch=2)).candidates
    model = load_cost_model("mistral_7b_a6000")
    assert candidate.prefill_s == model.prefill_s(522, 522)
    assert candidate.load_s == model.prefill_s(522, 522) + model.decode_s(1, 522) * 45
