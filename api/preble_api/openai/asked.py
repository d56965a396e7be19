"""A request of any route, in the words of the queue, and what its answer repeats of it."""

from dataclasses import dataclass

import msgspec

from preble.errors import InvalidJob
from preble.messages import WebhookKind
from preble_api.schemas import JobRequest


class Echo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a response repeats of its request; kept with its job, as long as that is."""

    model: str
    created_at_s: float = 0.0
    """Unix seconds; 0 for the time at which its job was submitted."""
    instructions: str | None = None
    metadata: dict[str, str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    """None where no logprobs were asked for."""
    is_background: bool = False
    is_stored: bool = True
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for."""

    jobs: tuple[JobRequest, ...]
    """One for each choice of the answer, in its order."""
    echo: Echo
    is_streamed: bool = False
    kind: WebhookKind = "job"
    """As what a webhook speaks of it."""
    has_usage: bool = False
    """Whether a stream ends with the usage."""
    has_running_usage: bool = False
    """Whether each of its chunks tells the usage so far."""

    @property
    def job(self) -> JobRequest:
        """The only job. Raises: InvalidJob if there are several."""
        if len(self.jobs) != 1:
            raise InvalidJob("prompt", f"one prompt goes here, not {len(self.jobs)}")
        return self.jobs[0]
