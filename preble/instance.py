"""What the scheduler believes of one instance: its load and the jobs placed on it."""

from preble.cost_model import CostModel
from preble.history import History
from preble.messages import InstanceRecord, JobId


class Instance:
    """One engine as the scheduler sees it. Mutable; owned by the Scheduler."""

    def __init__(
        self, record: InstanceRecord, slot: int, cost_model: CostModel, *, history_s: float
    ) -> None:
        self.record = record
        self.slot = slot
        self.cost_model = cost_model
        self.history = History(history_s)
        self.placed: dict[JobId, list[int]] = {}
        """Block keys that are expected of each job placed here."""
        self.event_seq = 0
        """Number of the last batch of block events folded, of the record's epoch."""

    @property
    def outstanding(self) -> int:
        """Jobs placed here that have not ended."""
        return len(self.placed)
