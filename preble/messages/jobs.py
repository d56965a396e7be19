"""A job as it is submitted."""

from enum import StrEnum
from typing import Final, NewType

import msgspec

from preble.config import Priority
from preble.messages.packing import BlockKeys, Tokens
from preble.messages.webhooks import Webhook

JobId = NewType("JobId", str)


DEFAULT_TENANT: Final = "default"
"""Of jobs whose client names none."""


class JobState(StrEnum):
    """Where a job stands. The order is the order of its life."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its deadline came first."""

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self not in {JobState.WAITING, JobState.ASSIGNED, JobState.RUNNING}


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to sample the output, in SGLang's names. The api checks the ranges."""

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None
    """Makes the sampling repeatable, where the engine can; None leaves it to chance."""
    logprobs: int | None = None
    """Likeliest tokens to tell beside each output token; 0 for its own logprob alone, None for no
    logprobs at all."""


class JobSpec(msgspec.Struct, frozen=True, array_like=True):
    """What a job asks for, without its prompt."""

    prompt_tokens: int
    sampling: SamplingParams
    cache_salt: str = ""
    priority: Priority = "normal"
    tenant: str = DEFAULT_TENANT
    deadline_s: float | None = None
    """From its submission; what has not ended by then is stopped. None for none."""
    inbox: str = ""
    """Of the api process that is told of its end; empty for none."""
    is_streamed: bool = False
    """Whether its tokens go to that inbox as they are made."""
    is_logged: bool = False
    """Whether its tokens are kept, for any api process to follow, as long as its result."""
    traceparent: str = ""
    """W3C's, of the request that submitted it; empty if that was not traced."""

    @property
    def total_tokens(self) -> int:
        """Most tokens of KV cache the job can need: prompt plus longest output."""
        return self.prompt_tokens + self.sampling.max_new_tokens


class Submission(msgspec.Struct, frozen=True):
    """A job on its way into the queue."""

    job_id: JobId
    spec: JobSpec
    prompt: Tokens
    block_keys: BlockKeys
    fingerprint: str = ""
    """Of the request, if its client gave it a key: the job's id follows from the key, and another
    request under that key is refused."""
    webhook: Webhook | None = None
    """Who is to be told of its end, outside; None for nobody."""
