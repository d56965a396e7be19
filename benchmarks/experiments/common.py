"""What experiments have in common: pools, sources, and the figures in their tables."""

from typing import Final

from benchmarks.spec import Column
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings
from preble.simulator.source import Source

A6000: Final = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=198_516)
H100: Final = EngineSettings(cost_model="llama3_8b_h100", kv_capacity_tokens=800_000)
"""For prompts that are too long for an A6000's KV cache: up to 791,400 tokens with an answer. So
much memory has an H200."""

INSTANCES: Final = 8

MEAN: Final = Column("mean s", "mean_s")
P99: Final = Column("p99 s", "p99_s", ".1f")
HITS: Final = Column("hits", "hit_rate", ".1%")
IMBALANCE: Final = Column("imbalance", "imbalance")
"""Most / mean prefill tokens computed on an instance."""
BUSY_IMBALANCE: Final = Column("busy imbalance", "busy_imbalance")
"""Likewise of busy seconds."""
MAKESPAN: Final = Column("makespan s", "makespan_s", ".1f")
BOUNDS: Final = (
    Column("no mean is below, s", "bound_s"),
    Column("no cache hits more", "hit_bound", ".1%"),
)

WINDOWS: Final = 10


def _windows(trace: str, total: int, size: int) -> tuple[Source, ...]:
    """Parts of a trace of `total` requests, at even distances."""
    return tuple(
        Source(
            trace=trace,
            num_requests=size,
            skip_requests=window * (total - size) // (WINDOWS - 1),
        )
        for window in range(WINDOWS)
    )


MOONCAKE: Final = _windows("mooncake_conversation.jsonl.gz", 12_031, 2_500)
"""Neighbours overlap by more than half."""
AZURE: Final = _windows("azure_conversation_2023.csv.gz", 19_366, 1_500)
LEVAL: Final = (Source(trace="leval_docqa.jsonl.gz", block_size=64),)
"""All 2,074 requests, in the dispatcher's blocks instead of the trace's 16 tokens."""
SESSIONS: Final = (Source(trace="claude_code_sessions.jsonl.gz", num_requests=1_000),)


def pool(instances: int, engine: EngineSettings = A6000) -> PoolSettings:
    """Equal instances."""
    return PoolSettings(policy="preble", engine=engine, speeds=(1.0,) * instances)


def generated(workload: str, requests: int) -> tuple[Source, ...]:
    """Drawn anew with each seed."""
    return (Source(workload=workload, num_requests=requests),)
