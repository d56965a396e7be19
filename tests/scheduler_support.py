"""A scheduler whose arithmetic can be done by hand, and short words for what happens to it.

A block is 10 tokens, a token costs 1 ms wherever it is computed, and a prompt is a text with
a letter for each block: "SSSSuu" is 60 tokens, and shares 40 of them with "SSSSvv".
"""

from itertools import count
from pathlib import Path
from typing import Final

from preble.config import PolicyName, Priority
from preble.messages import (
    AllBlocksCleared,
    Assignment,
    BlockEvent,
    BlocksRemoved,
    BlocksStored,
    EventBatch,
    InstanceId,
    InstanceRecord,
    JobEnded,
    JobId,
    JobSpec,
    PlacedJob,
    SamplingParams,
    WaitingJob,
    pack_keys,
)
from preble.policy import Policy, create_policy
from preble.scheduler import Scheduler

BLOCK_TOKENS: Final = 10
WINDOW_S: Final = 180.0
ONE_MS_A_TOKEN: Final = str(Path(__file__).parent / "golden" / "one_ms_a_token.json")

GPU0, GPU1, GPU2, GPU3 = (InstanceId(f"gpu{number}") for number in range(4))


def keys_of(prompt: str) -> list[int]:
    """Keys as the real ones are: each names the whole prefix up to its block."""
    blocks = tuple(map(ord, prompt))
    return [hash(blocks[: end + 1]) & (2**64 - 1) for end in range(len(blocks))]


def stored(prompt: str, *, after: str = "") -> BlocksStored:
    """The blocks that follow `after` in a prompt were stored."""
    keys = keys_of(prompt)[len(after) :]
    return BlocksStored(pack_keys(keys), keys_of(after)[-1] if after else None)


def removed(prompt: str, *, after: str = "") -> BlocksRemoved:
    """The blocks that follow `after` in a prompt were evicted, the last one first."""
    return BlocksRemoved(pack_keys(reversed(keys_of(prompt)[len(after) :])))


def waiting(
    name: str, prompt: str, *, extra_tokens: int = 0, priority: Priority = "normal",
    tenant: str = "t", waited_s: float = 0.0,
) -> WaitingJob:  # fmt: skip
    """A job; its extra tokens fill no block."""
    spec = JobSpec(
        BLOCK_TOKENS * len(prompt) + extra_tokens, SamplingParams(max_new_tokens=50),
        priority=priority, tenant=tenant,
    )  # fmt: skip
    return WaitingJob(JobId(name), "ingress", spec, pack_keys(keys_of(prompt)), waited_s)


class Stage:
    """A scheduler and what happens to it, each call an event; gpu0, gpu1, … are there."""

    def __init__(
        self, policy: PolicyName | Policy = "e2", *, instances: int = 2,
        capacity_blocks: int = 1_000, slots: int = 8,
    ) -> None:  # fmt: skip
        made = create_policy(policy) if isinstance(policy, str) else policy
        self.scheduler = Scheduler(made, block_size=BLOCK_TOKENS, history_s=WINDOW_S)
        self._names = (f"job{number}" for number in count())
        self._seqs: dict[InstanceId, int] = {}
        for number in range(instances):
            self.join(InstanceId(f"gpu{number}"), capacity_blocks=capacity_blocks, slots=slots)

    def join(
        self, instance: InstanceId, *, epoch: str = "e1", capacity_blocks: int = 1_000,
        slots: int = 8, cost_model: str = ONE_MS_A_TOKEN,
    ) -> None:  # fmt: skip
        """A life of an instance begins."""
        self._seqs[instance] = 0
        self.scheduler.join(
            InstanceRecord(
                instance, epoch, "noop", slots=slots, cost_model=cost_model,
                kv_capacity_tokens=capacity_blocks * BLOCK_TOKENS,
            )
        )  # fmt: skip

    def tell(self, instance: InstanceId, *events: BlockEvent, epoch: str = "e1") -> None:
        """The next batch of an instance's block events."""
        self._seqs[instance] += 1
        assert self.scheduler.fold(EventBatch(instance, epoch, self._seqs[instance], events))

    def store(self, instance: InstanceId, prompt: str, *, after: str = "") -> None:
        """An instance holds the blocks that follow `after`."""
        self.tell(instance, stored(prompt, after=after))

    def evict(self, instance: InstanceId, prompt: str, *, after: str = "") -> None:
        """An instance holds the blocks that follow `after` no more."""
        self.tell(instance, removed(prompt, after=after))

    def clear(self, instance: InstanceId) -> None:
        """An instance holds nothing any more."""
        self.tell(instance, AllBlocksCleared())

    def assign(
        self, prompt: str, *, now_s: float = 0.0, extra_tokens: int = 0, name: str | None = None
    ) -> Assignment:
        """A new job goes where the policy says."""
        job = waiting(name or next(self._names), prompt, extra_tokens=extra_tokens)
        assignment = self.scheduler.assign(job, now_s=now_s)
        assert assignment
        return assignment

    def put(
        self, instance: InstanceId, prompt: str, *, now_s: float = 0.0, extra_tokens: int = 0
    ) -> JobId:
        """A new job stands on an instance, whatever the policy would say."""
        job = waiting(next(self._names), prompt, extra_tokens=extra_tokens)
        placed = PlacedJob(job.job_id, instance, job.spec, job.block_keys)
        self.scheduler.restore(placed, now_s=now_s)
        return job.job_id

    def load(self, instance: InstanceId, load_ms: int, *, now_s: float = 0.0) -> JobId:
        """A job adds so much to L: its prompt fills no block and is followed by 45 tokens."""
        return self.put(instance, "", extra_tokens=load_ms - 45, now_s=now_s)

    def end(
        self, job_id: JobId, instance: InstanceId, *, output_tokens: int = 0, now_s: float = 0.0,
        decode_s: float = 0.0,
    ) -> None:  # fmt: skip
        """A job ended; without output tokens it failed."""
        self.scheduler.ended(JobEnded(job_id, instance, output_tokens, decode_s), now_s=now_s)


def costs_ms(assignment: Assignment) -> dict[str, tuple[float, float, float]]:
    """L, M and P of each instance, in milliseconds."""
    return {
        each.instance_id: (
            round(each.load_s * 1_000, 6),
            round(each.eviction_s * 1_000, 6),
            round(each.prefill_s * 1_000, 6),
        )
        for each in assignment.candidates
    }


def decided(assignment: Assignment) -> tuple[InstanceId, str]:
    """Where to, and why."""
    return assignment.instance_id, assignment.reason
