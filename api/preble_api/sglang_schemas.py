"""What SGLang's routes beside `/generate` take and tell, as far as a queue knows it.

SGLang tells figures of one server; what is not known of a pool is left out, never guessed.
Recorded from SGLang 0.5.23.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preble_api.generate_schemas import Rid

Rank = Annotated[int, Meta(ge=0)]


class ModelInfo(msgspec.Struct, frozen=True):
    """The model that the pool serves."""

    model_path: Annotated[str, Meta(description="Its name here.")]
    served_model_name: str
    is_generation: bool = True
    preferred_sampling_params: None = None
    has_image_understanding: bool = False
    has_audio_understanding: bool = False


class ServerInfo(msgspec.Struct, frozen=True):
    """What the processes of the pool agreed on."""

    model_path: str
    served_model_name: str
    context_length: int
    vocab_size: int
    page_size: Annotated[int, Meta(description="Tokens of the engines' pages.")]
    block_size: Annotated[int, Meta(description="Tokens that have a key in the prefix tree.")]
    version: Annotated[str, Meta(description="Preble's.")]


class LoadsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `/v1/loads`."""

    dp_rank: Annotated[Rank | UnsetType, Meta(description="Only the instance there.")] = UNSET
    include: Annotated[Literal["core", "all"], Meta(description="The same here.")] = "all"
    format: Annotated[Literal["json"], Meta(description="For Prometheus: /metrics.")] = "json"


class Load(msgspec.Struct, frozen=True):
    """One instance, in the place of one of SGLang's data-parallel ranks."""

    dp_rank: Annotated[int, Meta(description="Its place among the instances, by name.")]
    instance: Annotated[str, Meta(description="Its name.")]
    num_running_reqs: Annotated[int, Meta(description="Claimed by its worker.")]
    num_waiting_reqs: Annotated[int, Meta(description="Assigned to it.")]
    num_total_reqs: Annotated[int, Meta(description="Both together.")]
    max_running_requests: Annotated[int, Meta(description="Its slots.")]
    max_total_num_tokens: Annotated[int, Meta(description="That its KV cache holds.")]


class Loads(msgspec.Struct, frozen=True):
    """What stands with each instance, and before all of them."""

    timestamp: Annotated[str, Meta(description="UTC, as in ISO 8601.")]
    version: str
    num_queued_reqs: Annotated[int, Meta(description="Waiting, assigned to no instance.")]
    loads: list[Load]


class AbortRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs to end: exactly one of the two."""

    rid: Annotated[Rid, Meta(description="A job's id, or the UUID that was its rid.")] | None = None
    abort_all: Annotated[bool, Meta(description="All jobs that may be touched.")] = False


class Aborted(msgspec.Struct, frozen=True):
    """What became of it."""

    aborted: Annotated[int, Meta(description="Jobs that are cancelled now.")]
    has_more: Annotated[bool, Meta(description="Whether jobs are left; ask again.")] = False


SGLANG_STRUCTS = (ModelInfo, ServerInfo, Loads, AbortRequest, Aborted)
"""To be described."""
