"""Does the faults of a schedule, some side by side, never two to the same victim at once."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import msgspec
from chaos.faults import Kind, reserved_by, victim_of
from chaos.pace import Pace
from chaos.pool import Pool

from preble.clock import unix_s

LANES: Final = 2
"""Faults at once."""
LONGEST_GAP_S: Final = 1.5


class Planned(msgspec.Struct, frozen=True):
    """A fault to be done."""

    kind: Kind
    pick: int
    """Which of those of its kind; taken modulo their number."""
    hold_s: float
    gap_s: float
    """Before it, after the one before it in the same lane."""


class Done(msgspec.Struct, frozen=True):
    """A fault that was done and healed."""

    kind: str
    victim: str
    begun_at_s: float
    healed_at_s: float


def draw_schedule(seed: int, number: int, kinds: Sequence[Kind]) -> list[Planned]:
    """So many faults, the same for the same seed; each kind at least once if there is room."""
    random = Random(f"faults {seed}")  # noqa: S311  # repeatable, no secret
    weights = [kind.weight for kind in kinds]
    once = random.sample(kinds, min(number, len(kinds)))
    more = random.choices(kinds, weights, k=number - len(once))
    drawn = once + more
    random.shuffle(drawn)
    return [
        Planned(
            kind, random.randrange(1_000), random.uniform(*kind.hold_s),
            random.uniform(0, LONGEST_GAP_S),
        )
        for kind in drawn
    ]  # fmt: skip


class Injector:
    """Breaks a pool.

    Args:
        pool: Which.
        pace: Says when the next may come.
    """

    def __init__(self, pool: Pool, pace: Pace) -> None:
        self._pool = pool
        self._pace = pace
        self._reserved: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.done: list[Done] = []

    async def work(self, schedule: Sequence[Planned]) -> None:
        """Until all have been done and healed."""
        left = iter(schedule)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(LANES):
                tasks.create_task(self._lane(left))

    async def _lane(self, left: Iterator[Planned]) -> None:
        for planned in left:
            await asyncio.sleep(planned.gap_s)
            await self._pace.begin_fault()
            async with self._reserved[reserved_by(self._pool, planned.kind.victim, planned.pick)]:
                await self._do(planned)

    async def _do(self, planned: Planned) -> None:
        kind = planned.kind
        victim = await asyncio.to_thread(victim_of, self._pool, kind.victim, planned.pick)
        begun_at_s = unix_s()
        await kind.act(self._pool, victim, planned.hold_s)
        self.done.append(Done(kind.name, victim, begun_at_s, unix_s()))
