"""Dynamo's KV router in its own offline replay, beside our copy in our simulator.

Its engines are simulated too, so ours take the nearest cost model that our form allows, fitted
to steps of its mocker. What counts is what each router gains on round robin where it runs, and
what the real one's decisions come to on our engines.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from preble.cost_model.coefficients import Attention, Coefficients, LongRequest, Piece
from preble.errors import PrebleError
from preble.messages import unpack_keys
from preble.simulator.run import EngineSettings
from preble.simulator.workload import TimedRequest, Workload
from preble.simulator.workload.generators.shared_prefix import shared_prefix
from tools.peers.figures import Figures, Outcome, same_decisions
from tools.peers.matches import INSTANCES, simulated, workload_of
from tools.peers.placements import placed_as

SCRIPT: Final = Path(__file__).with_name("mocker_replay.py")
KV_BLOCKS: Final = {"toolbench": 937, "hot_prefix": 937, "long_prefix": 2048}
"""Of each instance: the 60,000 tokens of the other comparison, and the mocker's usual."""
FULL_MS: Final = {"toolbench": 46.2, "hot_prefix": 24.5, "long_prefix": 35.0}
"""See `mocker_model`; chosen so that round robin's mean latency is the mocker's, seed 1."""
_SLOTS: Final = 64
_CHUNK_TOKENS: Final = 2048
_MS: Final = 1000.0

Mode = Literal["round_robin", "kv_router"]


class Replay(msgspec.Struct, frozen=True):
    """One workload by two rules: figures, and each rule's share of the other's."""

    round_robin: Figures
    kv: Figures
    hit_gain: float
    """Hit rate by caches / by round robin."""
    mean_gain: float
    """Mean latency by round robin / by caches: above 1, caches won."""
    p99_gain: float


class DynamoMatch(msgspec.Struct, frozen=True, kw_only=True):
    """One workload in Dynamo's replay, and in our simulator."""

    workload: str
    seed: int
    real: Replay
    copy: Replay
    moved: Figures
    """The real one's decisions, on our engines: what came of `copy.kv` has the same timing."""
    same_decisions: float
    """Of the two that look at caches."""

    @property
    def case(self) -> tuple[str, int]:
        """What is compared in it."""
        return self.workload, self.seed


class _Row(msgspec.Struct, frozen=True):
    """A request as Mooncake's traces have it."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int]


class DynamoFailed(PrebleError):
    """The offline replay gave no answer."""


def dynamo_match(python: Path, name: str, seed: int) -> DynamoMatch:
    """One of the workloads of `KV_BLOCKS`.

    Args:
        python: Of the virtual environment that has Dynamo's runtime.
        name: Of the workload.
        seed: Of its draws.

    Raises:
        DynamoFailed: If a replay fails.
    """
    workload = _workload(name, seed)
    blind = _replayed(python, workload, name, "round_robin")
    aware = _replayed(python, workload, name, "kv_router")
    with placed_as([each.instance for each in aware]) as as_the_real_one:
        policies = ("round_robin", "dynamo_kv", as_the_real_one)
        our_blind, our_aware, moved = _simulated(workload, name, policies)
    return DynamoMatch(
        workload=name, seed=seed, real=_replay(blind, aware), copy=_replay(our_blind, our_aware),
        moved=Figures.of(moved, INSTANCES),
        same_decisions=same_decisions(aware, our_aware, INSTANCES),
    )  # fmt: skip


def _workload(name: str, seed: int) -> Workload:
    """`long_prefix` is 64 groups that share 3,072 of 4,096 tokens."""
    if name != "long_prefix":
        return workload_of(name, seed=seed)
    return shared_prefix(
        seed=seed, num_requests=2000, rps=25.0, num_groups=64, prefix_tokens=3072,
        unique_tokens=1024, output_tokens=64,
    )  # fmt: skip


def _replayed(python: Path, workload: Workload, name: str, mode: Mode) -> Sequence[Outcome]:
    engine = {
        "num_gpu_blocks": KV_BLOCKS[name], "block_size": workload.block_size,
        "max_num_seqs": _SLOTS, "max_num_batched_tokens": _CHUNK_TOKENS,
    }  # fmt: skip
    arguments = {
        "extra_engine_args": {"engine": engine}, "num_workers": INSTANCES,
        "router_mode": mode, "trace_block_size": workload.block_size,
    }  # fmt: skip
    asked = msgspec.json.encode({"arguments": arguments, "rows": trace_rows(workload)})
    answer = msgspec.json.decode(_run(python, asked), type=list[tuple[int, int, float]])
    return [
        Outcome(instance, request.prompt_tokens, reused_tokens, latency_ms / _MS)
        for request, (instance, reused_tokens, latency_ms) in zip(
            workload.requests, answer, strict=True
        )
    ]


def _run(python: Path, asked: bytes) -> bytes:
    done = subprocess.run([python, SCRIPT], input=asked, capture_output=True, check=False)  # noqa: S603 - our script
    if done.returncode:
        raise DynamoFailed(f"Dynamo's replay failed: {done.stderr.decode()[-1000:]}")
    return done.stdout


def trace_rows(workload: Workload) -> list[_Row]:
    """The requests as a Mooncake trace: small numbers for block keys, and one for each rest."""
    numbers: dict[int | str, int] = {}

    def row(name: str, request: TimedRequest) -> _Row:
        blocks: list[int | str] = [*unpack_keys(request.block_keys)]
        if request.prompt_tokens % workload.block_size:
            blocks.append(name)
        hash_ids = [numbers.setdefault(block, len(numbers)) for block in blocks]
        return _Row(request.at_s * _MS, request.prompt_tokens, request.output_tokens, hash_ids)

    return [row(f"rest of {number}", each) for number, each in enumerate(workload.requests)]


def _simulated(
    workload: Workload, name: str, policies: Sequence[str]
) -> Sequence[Sequence[Outcome]]:
    kv_tokens = KV_BLOCKS[name] * workload.block_size
    with tempfile.NamedTemporaryFile("wb", suffix=".json") as file:
        file.write(msgspec.json.encode(mocker_model(kv_tokens, full_ms=FULL_MS[name])))
        file.flush()
        engine = EngineSettings(
            cost_model=file.name, kv_capacity_tokens=kv_tokens, chunk_tokens=_CHUNK_TOKENS,
            slots=_SLOTS,
        )  # fmt: skip
        return [simulated(workload, policy, engine) for policy in policies]


def mocker_model(kv_tokens: int, *, full_ms: float) -> Coefficients:
    """Steps of the mocker's default timing, as near as our form of a cost model comes.

    Measured: prefill of n new tokens takes 16.5 + 0.0152 n + 4.2e-7 n^2 ms, decodes 5.74 +
    54.0 p - 25.7 p^2 ms, p the context's share of the KV cache; a mixed step the sum. A step of
    more than `_SLOTS` new tokens counts as mixed here, and p counts straight.

    Args:
        kv_tokens: Of the KV cache.
        full_ms: What decodes take more with a full KV cache than with an empty one.
    """
    decode_ms, prefill_ms, token_ms = 5.74, 16.5, 0.0157
    return Coefficients(
        name="dynamo_mocker",
        source="Fitted to single steps of ai-dynamo-runtime 1.6.1's mocker, default timing.",
        linear=(Piece(0, decode_ms, 0.0), Piece(_SLOTS + 1, decode_ms + prefill_ms, token_ms)),
        attention=Attention(0, 0.0, 0.0, full_ms / kv_tokens),
        long_request=LongRequest(min_product=10**12),
        efficiency=1.0,
    )


def _replay(round_robin: Sequence[Outcome], kv: Sequence[Outcome]) -> Replay:
    blind, aware = Figures.of(round_robin, INSTANCES), Figures.of(kv, INSTANCES)
    return Replay(
        round_robin=blind,
        kv=aware,
        hit_gain=round(aware.hit_rate / blind.hit_rate, 3),
        mean_gain=round(blind.mean_latency_s / aware.mean_latency_s, 3),
        p99_gain=round(blind.p99_latency_s / aware.p99_latency_s, 3),
    )
