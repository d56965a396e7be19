"""One request inside a simulated engine, and the settings of engines."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from preble.config import WaitOrder
from preble.errors import ConfigError, InvariantError
from preble.messages import unpack_keys
from preble.simulator.workload.request import TimedRequest

StepKind = Literal["mixed", "prefill_first"]
"""`mixed`: prefill and decodes in one step. `prefill_first`: while there is prefill, it runs
alone and decodes stand still, as SGLang does by default."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all engines of a simulated pool have in common.

    Args:
        cost_model: Its name, or the path of its file.
        kv_capacity_tokens: Tokens of KV cache.
        chunk_tokens: Most prompt tokens computed in one step.
        slots: Most requests that run at once.
        steps: What a step may hold.
        wait_order: Of requests that wait in front of the engine.
        output_reserve: Share of the outputs of running requests, in 0..1, for which memory is
            set aside when another is admitted. At 1 no request is ever retracted.
    """

    cost_model: str
    kv_capacity_tokens: int
    chunk_tokens: int = 2048
    slots: int = 64
    steps: StepKind = "mixed"
    wait_order: WaitOrder = "fcfs"
    output_reserve: float = 1.0

    def check_fits(self, request: TimedRequest) -> None:
        """Refuse what can never run. Raises: ConfigError."""
        total_tokens = request.prompt_tokens + request.output_tokens
        if total_tokens > self.kv_capacity_tokens:
            msg = f"a request of {total_tokens} tokens exceeds the KV cache of "
            msg += f"{self.kv_capacity_tokens}: give the instances more, or shorten the workload"
            raise ConfigError(msg)


@dataclass(slots=True, eq=False)
class Run:
    """A request's stay in an engine. The instance model alone changes it.

    While a run decodes, its progress is what the engine's step counter says: `last_step`
    minus the counter is what it has yet to produce.
    """

    number: int
    """Its place in the workload."""
    request: TimedRequest
    admission: int = 0
    """Number of the admission it runs by; 0 while it waits."""
    held_blocks: int = 0
    computed_tokens: int = 0
    """Tokens whose KV is there: hit or computed."""
    prefill_end: int = 0
    """Tokens to have KV before it decodes: the prompt and what it produced before."""
    produced_tokens: int = 0
    last_step: int = 0
    reached_tokens: int = 0
    """Most tokens whose KV was ever there: below it, nothing is hit or computed the first time."""
    hit_tokens: int = 0
    """Of the prompt, found in the cache and not put there by this request."""
    prefilled_tokens: int = 0
    """Computed in prefill, over all admissions."""
    recomputed_tokens: int = 0
    """Of those, what it had computed before a retraction."""
    admitted_at_s: float = 0.0
    first_token_at_s: float = 0.0
    ended_at_s: float = 0.0
    _keys: list[int] | None = None

    def __post_init__(self) -> None:
        """At first, the prompt is what is to be computed."""
        self.prefill_end = self.request.prompt_tokens

    @property
    def keys(self) -> list[int]:
        """Of its blocks, unpacked when first asked for: most of a batch waits for long."""
        if self._keys is None:
            self._keys = unpack_keys(self.request.block_keys)
        return self._keys

    @property
    def missing_tokens(self) -> int:
        """Tokens of its prefill yet to be computed."""
        return self.prefill_end - self.computed_tokens

    @property
    def decode_tokens(self) -> int:
        """Tokens that will need KV after the prefill: the last one produced never does."""
        return self.request.output_tokens - self.produced_tokens - 1

    def note_hits(self, tokens: int) -> None:
        """It is admitted with so many tokens in the cache."""
        self.computed_tokens = tokens
        self.hit_tokens += max(0, tokens - self.reached_tokens)
        self.reached_tokens = max(self.reached_tokens, tokens)

    def note_share(self, tokens: int) -> None:
        """A step begins that computes so many tokens of its prefill."""
        end = self.computed_tokens + tokens
        self.prefilled_tokens += tokens
        self.recomputed_tokens += max(0, min(self.reached_tokens, end) - self.computed_tokens)
        self.reached_tokens = max(self.reached_tokens, end)

    def check(self) -> None:
        """Check that each token of the prompt was hit or computed once. Raises: InvariantError."""
        first_computed = self.prefilled_tokens - self.recomputed_tokens
        if self.hit_tokens + first_computed != self.request.prompt_tokens:
            msg = f"request {self.number}: {self.hit_tokens} tokens hit, {first_computed} computed"
            raise InvariantError(f"{msg} of {self.request.prompt_tokens}")
