"""What a replay is told and what it answers."""

import msgspec
from msgspec import UNSET, UnsetType

from preble.config import Binding
from preble.simulator.changes import Change
from preble.simulator.run import EngineSettings
from preble.simulator.workload.request import TimedRequest


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The simulated pool.

    Args:
        policy: The rule that picks an instance: a `PolicyName`, or an import path.
        engine: What all instances have in common.
        speeds: One for each instance: how many times faster than predicted it runs.
        event_delay_s: From an engine's step to the scheduler's knowing of it.
        history_s: The window H.
        binding: When a request is bound to its instance.
        credit_s: Seconds of prefill that late binding gives an instance ahead.
        window_jobs: Requests of each class and tenant that late binding plans at once.
        batch_window_jobs: The same of priority `batch`.
        changes: What happens to instances meanwhile.
        detect_s: From an engine's death until its requests come back: the lease.
        believed_cost_model: With which instances register, if not with their engines' own: what
            the scheduler predicts by.
    """

    policy: str
    engine: EngineSettings
    speeds: tuple[float, ...]
    event_delay_s: float = 0.005
    history_s: float = 180.0
    binding: Binding = "eager"
    credit_s: float = 0.5
    window_jobs: int = 64
    batch_window_jobs: int = 256
    changes: tuple[Change, ...] = ()
    detect_s: float = 10.0
    # Unset, not None: documents, and the keys of cells in `benchmarks`, do without it.
    believed_cost_model: str | UnsetType = UNSET


class Served(msgspec.Struct, frozen=True):
    """What became of one request; times are seconds from the workload's start."""

    request: TimedRequest
    instance: int
    admitted_at_s: float
    """When its prefill began."""
    first_token_at_s: float
    ended_at_s: float
    available_hit_tokens: int
    """On the instance that held most, as the scheduler knew when it decided."""
    predicted_hit_tokens: int
    """On the chosen instance."""
    hit_tokens: int
    """As the engine had them: delivered."""
    recomputed_tokens: int

    @property
    def latency_s(self) -> float:
        """E2E latency: from arrival to the last token."""
        return self.ended_at_s - self.request.at_s

    @property
    def ttft_s(self) -> float:
        """From arrival to the first token."""
        return self.first_token_at_s - self.request.at_s

    @property
    def wait_s(self) -> float:
        """From arrival to the begin of its prefill."""
        return self.admitted_at_s - self.request.at_s

    @property
    def prefilled_tokens(self) -> int:
        """Computed in prefill, recomputed ones too."""
        return self.request.prompt_tokens - self.hit_tokens + self.recomputed_tokens

    @property
    def tpot_s(self) -> float:
        """Mean time between its tokens after the first; 0 if there is only one."""
        gaps = self.request.output_tokens - 1
        return (self.ended_at_s - self.first_token_at_s) / gaps if gaps else 0.0


class InstanceTotals(msgspec.Struct, frozen=True):
    """What one instance did in a whole replay, in all its lives."""

    busy_s: float
    prefilled_tokens: int
    evicted_blocks: int
    retractions: int
    measured_busy_s: float = 0.0
    """Of `busy_s`, from the arrival of the first measured request on."""
    lost_tokens: int = 0
    """Of `prefilled_tokens`, those of requests that died with the engine."""


class TimelineSample(msgspec.Struct, frozen=True, array_like=True):
    """How full the instances were at one moment, each tuple in their order."""

    at_s: float
    waiting: tuple[int, ...]
    running: tuple[int, ...]


class Replayed(msgspec.Struct, frozen=True):
    """The outcome: one entry of `served` for each request, in the workload's order."""

    served: tuple[Served, ...]
    instances: tuple[InstanceTotals, ...]
    timeline: tuple[TimelineSample, ...]
