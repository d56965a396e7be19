"""What the scheduler believes of one instance, apart from the numbers that `fleet` keeps."""

from preble.cost_model import CostModel, StepCorrection
from preble.eviction import EvictionCurve
from preble.history import Account
from preble.messages import InstanceRecord, JobId
from preble.prefix_tree import Node


class PlacedRequest:
    """A job on an instance that has not ended. Mutable; owned by the Fleet."""

    __slots__ = (
        "instance", "is_computed", "is_expected", "job_id", "last_key", "leaf", "miss_tokens",
        "placed_at_s", "prefill_s", "prompt_tokens",
    )  # fmt: skip

    def __init__(
        self, job_id: JobId, instance: "Instance", leaf: Node | None, last_key: int | None, *,
        prompt_tokens: int, miss_tokens: int, prefill_s: float, placed_at_s: float,
    ) -> None:  # fmt: skip
        self.job_id = job_id
        self.instance = instance
        self.leaf = leaf
        """Where its prompt ends in the tree; None if it fills no block."""
        self.last_key = last_key
        """Of its last full block."""
        self.prompt_tokens = prompt_tokens
        self.miss_tokens = miss_tokens
        self.prefill_s = prefill_s
        self.placed_at_s = placed_at_s
        self.is_expected = leaf is not None
        """Whether its blocks count as expected."""
        self.is_computed = False
        """Whether its prompt is known to have been computed."""


class Instance:
    """One engine as the scheduler sees it. Mutable; owned by the Fleet."""

    def __init__(self, record: InstanceRecord, account: Account, cost_model: CostModel) -> None:
        self.account = account
        self.capacity_blocks = 0
        """What its KV cache holds."""
        self.placed: dict[JobId, PlacedRequest] = {}
        self.computing: dict[int, list[PlacedRequest]] = {}
        """Those whose prompt is not known to be computed, by their last block key."""
        self.num_decoding = 0
        """Those whose prompt is known to be computed."""
        self.eviction: tuple[tuple[int, float], EvictionCurve] | None = None
        """What making room costs, and of which state: the tree's `changes`, and the number of
        requests in the window."""
        self.begin(record, cost_model)

    def begin(self, record: InstanceRecord, cost_model: CostModel) -> None:
        """A life begins: the jobs placed here stay, all else is new."""
        self.record = record
        self.cost_model = cost_model
        self.correction = StepCorrection()
        self.event_seq = 0
        """Number of the last batch of block events folded, of the record's epoch."""
