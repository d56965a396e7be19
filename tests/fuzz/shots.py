"""Draws requests: each by its number and the seed of the run, so that any can be made again."""

from random import Random
from typing import Final

from fuzz.bodies import DAMAGES, GENERATES, JOBS
from fuzz.framing import FRAMES
from fuzz.heads import HEADS, JSON
from fuzz.wire import Shot, message

_SHARES: Final = {"body": 6, "head": 3, "frame": 1}
"""Of ten requests. Frames are few, for many of them wait for a reply that nobody owes."""


def drawn(seed: int, number: int) -> Shot:
    """One request of the byte fuzzer."""
    random = Random(f"{seed} {number}")  # noqa: S311 - must be the same each time
    [part] = random.choices(tuple(_SHARES), tuple(_SHARES.values()))
    if part == "body":
        return _of_a_damaged_body(random)
    return random.choice(tuple((HEADS if part == "head" else FRAMES).values()))(random)


def _of_a_damaged_body(random: Random) -> Shot:
    kind, damage = random.choice(tuple(DAMAGES.items()))
    target, goods = random.choice(((b"/v1/jobs", JOBS), (b"/generate", GENERATES)))
    body = damage(random, random.choice(goods))
    return Shot(kind, (message(b"POST", target, JSON, body),))
