"""Pools, instances, and what their KV caches hold."""

from typing import Final, NewType

import msgspec

from preble.messages.packing import BlockKeys

InstanceId = NewType("InstanceId", str)


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
    version: str = ""
    """Of Preble, as the worker runs it; empty where it is not known."""


class InstanceReport(msgspec.Struct, frozen=True):
    """What a worker tells of its present life with each renewal of its lease."""

    kv_used_tokens: int = 0
    """KV memory that the jobs in the engine need."""
    prompt_tokens: int = 0
    """Of the prompts of the jobs that were completed."""
    hit_tokens: int = 0
    """Of these, those that the engine took from its KV cache."""


NO_REPORT: Final = InstanceReport()
"""Of a life that has just begun."""


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
