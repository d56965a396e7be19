"""A prefix tree that keeps every block by itself: slow, and right by looking at it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from preble.prefix_tree import Node

HOLDERS = 3

Prompt = tuple[int, ...]
"""Blocks by what is in them; a block is named by all up to its end."""

STEMS: tuple[Prompt, ...] = (
    (0, 0, 0, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 1, 1, 1, 1),
    (0, 0, 0, 0, 1, 1, 2, 2),
    (0, 0, 3, 3, 3, 3),
    (0, 0, 3, 3, 4, 4),
    (5, 5, 5),
)
PROMPTS = sorted({stem[:end] for stem in STEMS for end in range(1, len(stem) + 1)})
ASKED = sorted({stem[:end] for stem in STEMS for end in (4, len(stem))})
"""What requests ask for: few ends, or the tree would soon be all nodes of one block."""


@cache
def prefixes_of(prompt: Prompt) -> tuple[Prompt, ...]:
    return tuple(prompt[:end] for end in range(1, len(prompt) + 1))


def key_of(prefix: Prompt) -> int:
    return hash(prefix) & (2**64 - 1)


def keys_of(prompt: Prompt) -> list[int]:
    return [key_of(prefix) for prefix in prefixes_of(prompt)]


@dataclass(eq=False)
class Request:
    """A prompt placed on an instance, and where the tree says that it ends."""

    prompt: Prompt
    holder: int
    leaf: Node


@dataclass(eq=False)
class Waiting:
    """A prompt that is on no instance yet, and where the tree says that it ends."""

    prompt: Prompt
    leaf: Node


@dataclass
class NaiveTree:
    """Every block by itself: slow, and right by looking at it."""

    held: list[set[Prompt]] = field(default_factory=lambda: [set() for _ in range(HOLDERS)])
    window: list[Request] = field(default_factory=list[Request])
    computing: list[Request] = field(default_factory=list[Request])
    on_instances: list[Request] = field(default_factory=list[Request])
    waiting: list[Waiting] = field(default_factory=list[Waiting])

    def kept(self) -> set[Prompt]:
        requests = [*self.window, *self.computing, *self.on_instances]
        asked = [each.prompt for each in requests] + [each.prompt for each in self.waiting]
        return set[Prompt]().union(*self.held, *map(prefixes_of, asked))

    def expected(self, holder: int) -> set[Prompt]:
        return blocks_of(self.computing, holder)

    def pinned(self, holder: int) -> set[Prompt]:
        return blocks_of(self.on_instances, holder)

    def hot(self, holder: int) -> set[Prompt]:
        return blocks_of(self.window, holder) & self.held[holder]

    def evicted(self, prompt: Prompt) -> set[Prompt]:
        """What the window knows of a prompt and nobody has or will have."""
        known = blocks_of(self.window)
        lost = known.difference(*self.held, blocks_of(self.computing))
        return lost & {*prefixes_of(prompt)}

    def requests(self, holder: int) -> list[Request]:
        return [each for each in self.window if each.holder == holder]

    def drop(self, prefix: Prompt, holder: int) -> None:
        self.held[holder] -= {each for each in self.held[holder] if each[: len(prefix)] == prefix}

    def victims(self, holder: int) -> list[tuple[Prompt, int]]:
        """Hot blocks, least recently used first, leaves first; with the requests through them."""
        used_by = {
            prefix: [
                at
                for at, each in enumerate(self.requests(holder))
                if each.prompt[: len(prefix)] == prefix
            ]
            for prefix in self.hot(holder)
        }
        in_order = sorted(used_by, key=lambda prefix: (used_by[prefix][-1], -len(prefix)))
        return [(prefix, len(used_by[prefix])) for prefix in in_order]


def blocks_of(requests: Sequence[Request], holder: int | None = None) -> set[Prompt]:
    """Of those on an instance, or of all."""
    return {
        prefix
        for each in requests
        if holder in (None, each.holder)
        for prefix in prefixes_of(each.prompt)
    }


def deepest(prompt: Prompt, among: set[Prompt]) -> int:
    return max((len(prefix) for prefix in prefixes_of(prompt) if prefix in among), default=0)
