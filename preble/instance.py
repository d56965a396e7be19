"""What the scheduler believes of one instance: its load and the jobs placed on it."""

from preble.cost_model import CostModel
from preble.history import History
from preble.messages import InstanceRecord, JobId


class PlacedWork:
    """One job placed on an instance: what must be taken back when it leaves."""

    __slots__ = ("block_keys", "prompt_tokens")

    def __init__(self, block_keys: list[int], prompt_tokens: int) -> None:
        self.block_keys = block_keys
        self.prompt_tokens = prompt_tokens


class Instance:
    """One engine as the scheduler sees it. Mutable; owned by the Scheduler."""

    def __init__(
        self, record: InstanceRecord, slot: int, cost_model: CostModel, *, history_s: float
    ) -> None:
        self.record = record
        self.slot = slot
        self.cost_model = cost_model
        self.history = History(history_s)
        self.placed: dict[JobId, PlacedWork] = {}
        self.event_seq = 0
        """Number of the last batch of block events folded, of the record's epoch."""

    @property
    def outstanding(self) -> int:
        """Jobs placed here that have not ended."""
        return len(self.placed)
