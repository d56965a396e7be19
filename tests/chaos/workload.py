"""What clients want done, drawn from a seed: batches of small jobs, some cancelled, some late."""

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Final

import msgspec

from preble.config import Priority

TENANTS: Final = ("ant", "bee", "cat", "dog", "eel")
PRIORITIES: Final[tuple[Priority, ...]] = ("high", "normal", "normal", "batch")
CANCELLED: Final = 0.04
"""Share of jobs that their client cancels."""
WITH_DEADLINE: Final = 0.04
LONG: Final = 0.15
"""Share of jobs whose answer is long enough to be in the middle of it when something breaks."""
LARGEST_BATCH: Final = 40
_SHARED_TOKENS: Final = 64
_SHORT_TOKENS, _LONG_TOKENS = (2, 16), (100, 400)
_WORDS: Final = 13_000
"""Token ids are below this; `frail_worker.POISON_TOKEN` is not."""


class Job(msgspec.Struct, frozen=True):
    """One job, and when its client will have enough of it."""

    input_ids: tuple[int, ...]
    max_new_tokens: int
    deadline_s: float | None = None
    cancel_after_s: float | None = None


class Batch(msgspec.Struct, frozen=True):
    """What one request submits."""

    key: str
    tenant: str
    priority: Priority
    jobs: tuple[Job, ...]
    gives_up: bool = False
    """When it is refused, instead of coming back."""

    def body(self) -> bytes:
        """As the api takes it; the same whenever it is asked for."""
        return msgspec.json.encode([self._fields(job) for job in self.jobs])

    def _fields(self, job: Job) -> dict[str, object]:
        fields: dict[str, object] = {
            "input_ids": job.input_ids, "tenant": self.tenant, "priority": self.priority,
            "sampling_params": {"max_new_tokens": job.max_new_tokens},
        }  # fmt: skip
        return fields if job.deadline_s is None else fields | {"deadline_s": job.deadline_s}


def draw_batches(seed: int) -> Iterator[Batch]:
    """Batches without end, the same for the same seed."""
    random = Random(f"batches {seed}")  # noqa: S311  # repeatable, no secret
    for number in count():
        yield Batch(
            key=f"chaos-{seed}-{number}",
            tenant=random.choice(TENANTS),
            priority=random.choice(PRIORITIES),
            jobs=tuple(draw_job(random) for _ in range(random.randint(1, LARGEST_BATCH))),
            gives_up=random.random() < 0.5,
        )


def draw_job(
    random: Random, *, long: float = LONG, impatient: float = CANCELLED + WITH_DEADLINE
) -> Job:
    """One that shares its beginning with others.

    Args:
        random: Where it is drawn from.
        long: Chance of a long answer.
        impatient: Chance that its client cancels it, or gives it a deadline.
    """
    topic = random.randrange(40)
    shared = tuple((topic * 131 + at * 7) % _WORDS for at in range(_SHARED_TOKENS))
    own = tuple(random.randrange(_WORDS) for _ in range(random.randint(8, 48)))
    tokens = random.randint(*(_LONG_TOKENS if random.random() < long else _SHORT_TOKENS))
    if random.random() >= impatient:
        return Job(shared + own, tokens)
    if random.random() < CANCELLED / (CANCELLED + WITH_DEADLINE):
        return Job(shared + own, tokens, cancel_after_s=random.uniform(0, 2))
    return Job(shared + own, tokens, deadline_s=random.uniform(0.05, 4))
