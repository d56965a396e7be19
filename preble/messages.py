"""Everything that crosses a process boundary, as frozen msgspec structs.

A *job* is one prompt to complete, from submission to result. Its prompt travels apart from
its `JobSpec`, as raw little-endian uint32 (`Tokens`), because prompts are large and the
scheduler needs their block keys only. Nothing here does I/O or knows Redis.
"""

from array import array
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NewType

import msgspec

from preble.config import Priority

JobId = NewType("JobId", str)
InstanceId = NewType("InstanceId", str)
ExecutionId = NewType("ExecutionId", str)
LeaderToken = NewType("LeaderToken", str)

Tokens = NewType("Tokens", bytes)
"""Token ids as little-endian uint32, four bytes each."""

BlockKeys = NewType("BlockKeys", bytes)
"""Chained block keys as little-endian uint64, eight bytes each, first block first."""

TOKEN_BYTES: Final = 4

DEFAULT_TENANT: Final = "default"
"""Of jobs whose client names none."""


class JobState(StrEnum):
    """Where a job stands. The order is the order of its life."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its deadline came first."""

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self not in {JobState.WAITING, JobState.ASSIGNED, JobState.RUNNING}


class Ring(StrEnum):
    """What a worker is called for."""

    ASSIGNED = "assigned"
    """Jobs were assigned to its instance."""
    RECALLED = "recalled"
    """A job that it runs was ended elsewhere."""


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to sample the output, in SGLang's names. The api checks the ranges."""

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


class JobSpec(msgspec.Struct, frozen=True, array_like=True):
    """What a job asks for, without its prompt."""

    prompt_tokens: int
    sampling: SamplingParams
    cache_salt: str = ""
    priority: Priority = "normal"
    tenant: str = DEFAULT_TENANT
    deadline_s: float | None = None
    """From its submission; what has not ended by then is stopped. None for none."""

    @property
    def total_tokens(self) -> int:
        """Most tokens of KV cache the job can need: prompt plus longest output."""
        return self.prompt_tokens + self.sampling.max_new_tokens


class Submission(msgspec.Struct, frozen=True):
    """A job on its way into the queue."""

    job_id: JobId
    spec: JobSpec
    prompt: Tokens
    block_keys: BlockKeys
    fingerprint: str = ""
    """Of the request, if its client gave it a key: the job's id follows from the key, and another
    request under that key is refused."""


class WaitingJob(msgspec.Struct, frozen=True):
    """A job in an ingress queue, as the scheduler sees it."""

    job_id: JobId
    ingress: str
    spec: JobSpec
    block_keys: BlockKeys
    waited_s: float = 0.0
    """Since it was submitted, by the queue's clock."""


class Candidate(msgspec.Struct, frozen=True):
    """One instance considered for a job, and what the job would cost there."""

    instance_id: InstanceId
    hit_tokens: int
    load_s: float
    prefill_s: float
    eviction_s: float
    outstanding: int
    cost: float | None


class Weighing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a policy weighed, an entry for each instance considered; columns, to be cheap."""

    instance_ids: list[InstanceId] = []
    hit_tokens: list[int] = []
    load_s: list[float] = []
    """L: seconds placed there in the window."""
    prefill_s: list[float] = []
    """P: seconds to prefill what it misses there."""
    eviction_s: list[float] = []
    """M: seconds lost by making room; empty where the policy does not weigh it."""
    outstanding: list[int] = []
    """Jobs there that had not ended."""
    cost: list[float] = []
    """What the policy minimized, in its own unit; empty if it weighs nothing."""


class Assignment(msgspec.Struct, frozen=True, array_like=True):
    """The decision job → instance, with its reason: the job's decision record."""

    job_id: JobId
    instance_id: InstanceId
    policy: str
    reason: str
    resident_hit_tokens: int
    expected_hit_tokens: int
    available_hit_tokens: int
    prefill_s: float
    weighed: Weighing = Weighing()

    @property
    def predicted_hit_tokens(self) -> int:
        """Hit tokens predicted on the chosen instance, resident and expected."""
        return self.resident_hit_tokens + self.expected_hit_tokens

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The instances considered, ordered by id."""
        weighed = self.weighed
        number = len(weighed.instance_ids)
        eviction_s = weighed.eviction_s or [0.0] * number
        cost: Sequence[float | None] = weighed.cost or [None] * number
        columns = (
            weighed.instance_ids, weighed.hit_tokens, weighed.load_s, weighed.prefill_s,
            eviction_s, weighed.outstanding, cost,
        )  # fmt: skip
        return tuple(Candidate(*each) for each in zip(*columns, strict=True))


class PlacedJob(msgspec.Struct, frozen=True):
    """A job that is assigned to or running on an instance."""

    job_id: JobId
    instance_id: InstanceId
    spec: JobSpec
    block_keys: BlockKeys


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job that a worker holds under a lease."""

    job_id: JobId
    execution_id: ExecutionId
    attempt: int
    spec: JobSpec
    prompt: Tokens

    @property
    def lease(self) -> "Lease":
        """The lease this claim holds."""
        return Lease(self.job_id, self.execution_id)


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """The right of one execution to finish one job."""

    job_id: JobId
    execution_id: ExecutionId


class HitPrediction(msgspec.Struct, frozen=True, array_like=True):
    """Hit tokens predicted when a job was started in its engine."""

    resident_tokens: int = 0
    """In the engine's KV cache then."""
    expected_tokens: int = 0
    """Still to be computed by jobs started before."""

    @property
    def hit_tokens(self) -> int:
        """Resident and expected."""
        return self.resident_tokens + self.expected_tokens


class JobResult(msgspec.Struct, frozen=True):
    """What a completed job delivered; times are seconds on the worker's clock."""

    text: str
    output_ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    ttft_s: float
    engine_s: float
    prediction: HitPrediction = HitPrediction()
    """What `cached_tokens` was predicted to be."""

    @property
    def decode_s(self) -> float:
        """From the first token to the last."""
        return max(0.0, self.engine_s - self.ttft_s)


class JobFailure(msgspec.Struct, frozen=True):
    """Why a job ended without a result."""

    code: str
    message: str


class Outcome(msgspec.Struct, frozen=True):
    """The end of one execution: exactly one of `result` and `failure` is set."""

    lease: Lease
    result: JobResult | None = None
    failure: JobFailure | None = None


class JobView(msgspec.Struct, frozen=True):
    """A job as a client may see it; times are Unix seconds of the Redis clock."""

    job_id: JobId
    state: JobState
    spec: JobSpec
    attempt: int
    submitted_at_s: float
    deadline_at_s: float | None = None
    position: int | None = None
    """Jobs ahead in the same queue; None beyond the counted depth or once running."""
    instance_id: InstanceId | None = None
    started_at_s: float | None = None
    ended_at_s: float | None = None
    assignment: Assignment | None = None
    result: JobResult | None = None
    failure: JobFailure | None = None


class PoolRecord(msgspec.Struct, frozen=True):
    """What every process of a pool must agree on."""

    model: str
    tokenizer_fingerprint: str
    vocab_size: int
    context_length: int
    block_size: int
    page_size: int


class InstanceRecord(msgspec.Struct, frozen=True):
    """One engine and the worker in front of it.

    `epoch` is new for each life of the worker, so that events and leases of an earlier life
    are told apart.
    """

    instance_id: InstanceId
    epoch: str
    engine: str
    slots: int
    kv_capacity_tokens: int
    cost_model: str


class BlocksStored(msgspec.Struct, frozen=True, tag="stored", array_like=True):
    """An instance now holds a run of blocks, each following the one before it."""

    block_keys: BlockKeys
    parent_key: int | None = None
    """The block that the run follows; None if it begins a prompt."""


class BlocksRemoved(msgspec.Struct, frozen=True, tag="removed", array_like=True):
    """An instance has evicted these blocks, each before the block it follows."""

    block_keys: BlockKeys


class AllBlocksCleared(msgspec.Struct, frozen=True, tag="cleared", array_like=True):
    """An instance holds nothing any more."""


BlockEvent = BlocksStored | BlocksRemoved | AllBlocksCleared


class EventBatch(msgspec.Struct, frozen=True):
    """Block events of one instance, in order. `seq` counts batches of one epoch from 1."""

    instance_id: InstanceId
    epoch: str
    seq: int
    events: tuple[BlockEvent, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """All blocks an instance holds after batch `seq` of `epoch`."""

    instance_id: InstanceId
    epoch: str
    seq: int
    runs: tuple[BlocksStored, ...]
    """Each after the run that it follows."""


class JobEnded(msgspec.Struct, frozen=True, tag="ended", array_like=True):
    """A job left its instance for good."""

    job_id: JobId
    instance_id: InstanceId
    completion_tokens: int
    decode_s: float = 0.0
    """From the first token to the last, on the worker's clock; 0 without a result."""


class InstanceJoined(msgspec.Struct, frozen=True, tag="joined", array_like=True):
    """An instance registered, with nothing cached that was reported yet."""

    record: InstanceRecord


class JobsReaped(msgspec.Struct, frozen=True, tag="reaped", array_like=True):
    """What was taken back from the dead. Told here and not by REAP's reply, which may be lost."""

    requeued: tuple[JobId, ...]
    """They wait again."""
    gone: tuple[InstanceId, ...]
    """They had not renewed their own lease."""


class JobsAdmitted(msgspec.Struct, frozen=True, tag="admitted", array_like=True):
    """Jobs were added to an ingress queue."""

    count: int


Signal = JobEnded | InstanceJoined | JobsReaped | JobsAdmitted
"""What the scheduler must hear besides block events; one stream for each pool."""


class Reaped(msgspec.Struct, frozen=True):
    """What one REAP call took from the dead.

    `requeued` jobs are waiting again, `failed` jobs had used up their attempts, `expired` jobs
    had not ended by their deadline, `gone` instances had not renewed their own lease.
    """

    requeued: tuple[JobId, ...] = ()
    failed: tuple[JobId, ...] = ()
    expired: tuple[JobId, ...] = ()
    gone: tuple[InstanceId, ...] = ()


class PoolStats(msgspec.Struct, frozen=True):
    """Counts of a pool: gauges of now, and totals since the pool began."""

    waiting: int
    assigned: int
    running: int
    prompt_bytes: int
    instances: int
    totals: dict[str, int]


encode = msgspec.msgpack.Encoder().encode
"""Any message to msgpack bytes."""


def pack_tokens(ids: Sequence[int]) -> Tokens:
    """Token ids to their wire form.

    Raises:
        OverflowError: If an id is negative or above 2**32 - 1.
    """
    return Tokens(array("I", ids).tobytes())


def unpack_tokens(tokens: Tokens) -> list[int]:
    """Token ids from their wire form, shape (len(tokens) / 4,)."""
    return array("I", tokens).tolist()


def pack_keys(keys: Iterable[int]) -> BlockKeys:
    """Block keys to their wire form."""
    return BlockKeys(array("Q", keys).tobytes())


def unpack_keys(block_keys: BlockKeys) -> list[int]:
    """Block keys from their wire form, shape (len(block_keys) / 8,)."""
    return array("Q", block_keys).tolist()
