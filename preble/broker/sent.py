"""What a client sent with a job, as it is kept until that has ended. Pure.

`max_prompt_bytes` bounds it: the prompt, the spec, the webhook, and the note once there is one.
Block keys are left out, a thirtieth of the prompt that they follow from.
"""

from typing import NamedTuple

from preble.messages import Submission, encode


class SentTexts(NamedTuple):
    """A job as it is written down."""

    spec: bytes
    webhook: bytes
    """Empty for none."""
    num_bytes: int
    """Of both, and of the prompt."""


def sent_texts(job: Submission) -> SentTexts:
    """What is kept of a new job."""
    spec, webhook = encode(job.spec), encode(job.webhook) if job.webhook else b""
    return SentTexts(spec, webhook, len(job.prompt) + len(spec) + len(webhook))
