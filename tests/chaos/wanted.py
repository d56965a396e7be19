"""What a run is to do, and the kind of pool that it does it to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

EngineKind = Literal["emulated", "sglang"]


class PoolKind(msgspec.Struct, frozen=True):
    """How large and how patient a pool is, by its engine."""

    workers: tuple[str, ...]
    settings: Mapping[str, str]
    forming_s: float
    """Longest until all workers have joined."""
    stuck_s: float
    """Longer than any fault: where no job ended for so long, none will."""


POOL_KINDS: Final[Mapping[EngineKind, PoolKind]] = {
    "emulated": PoolKind(
        ("gpu0", "gpu1", "gpu2", "gpu3"),
        {"slots": "16", "wait_jobs": "4", "emulated_speed": "8"},
        forming_s=90.0, stuck_s=120.0,
    ),
    # Two cores run two of them, slowly; each loads for the better part of a minute.
    "sglang": PoolKind(
        ("gpu0", "gpu1"),
        {"engine": "sglang", "context_length": "2048"},
        forming_s=300.0, stuck_s=480.0,
    ),
}  # fmt: skip


class Wanted(msgspec.Struct, frozen=True):
    """What a run is to do."""

    folder: Path
    binary: Path
    seed: int = 1
    jobs: int = 100_000
    faults: int = 300
    seconds: float = 300.0
    timeout_s: float = 3_600.0
    with_all_means: bool = True
    engine: EngineKind = "emulated"

    @property
    def kind(self) -> PoolKind:
        """Of its pool."""
        return POOL_KINDS[self.engine]
