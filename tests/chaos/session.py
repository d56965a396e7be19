"""What all scenarios share: clients beside other work, bounded in time; then what is left of it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Collection, Coroutine, Iterable, Sequence
from random import Random
from typing import Any, Final

from chaos.api_calls import ApiCalls
from chaos.checker import Offence, check
from chaos.crowd import Crowd
from chaos.final_state import read_final
from chaos.injector import Done
from chaos.memory import check_memory
from chaos.outcome import Outcome
from chaos.pool import Pool
from chaos.records import ClientLog, Remains
from chaos.wanted import Wanted

WATCH_EVERY_S: Final = 0.25
SETTLE_S: Final = 5.0


class Session:
    """Clients of one pool, until all they wanted has ended.

    Args:
        pool: Which.
        wanted: Of the run.
    """

    def __init__(self, pool: Pool, wanted: Wanted) -> None:
        self.pool = pool
        self.wanted = wanted
        self.log = ClientLog(wanted.folder / "clients.jsonl")
        self.random = Random(f"clients {wanted.seed}")  # noqa: S311  # repeatable, no secret
        self.calls = ApiCalls(pool.urls, self.log, self.random)
        self._began_s = time.monotonic()
        self._broke_off = ""

    async def run(self, crowd: Crowd, *beside: Coroutine[Any, Any, None]) -> None:
        """Let clients and whatever else work until both are done, or nothing moves any more.

        Args:
            crowd: The clients, whose `work` is among `beside`.
            beside: What is to be done.
        """
        working = asyncio.create_task(_together(beside))
        watching = asyncio.create_task(self._watch(crowd))
        both: set[asyncio.Future[Any]] = {working, watching}
        try:
            await asyncio.wait(
                both, timeout=self.wanted.timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if working.done():
                working.result()
            elif watching.done():
                self._broke_off = watching.result()
            else:
                self._broke_off = f"not done within {self.wanted.timeout_s:g} s"
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)
            await self.calls.close()

    async def _watch(self, crowd: Crowd) -> str:
        """Look after the pool as long as it moves. Returns: Why it is given up."""
        stuck_s = self.pool.kind.stuck_s
        while time.monotonic() - crowd.moved_at_s < stuck_s:
            await asyncio.sleep(WATCH_EVERY_S)
            await self.pool.look_after()
        return f"no job has ended for {stuck_s:g} s"

    async def outcome(
        self, title: str, *, faults: Sequence[Done] = (), may_fail: Collection[str] = (),
        notes: Sequence[str] = (), offences: Sequence[Offence] = (),
    ) -> Outcome:  # fmt: skip
        """Heal what is left broken, read the state, and check."""
        took_s = time.monotonic() - self._began_s
        self.log.close()
        doctor = await asyncio.to_thread(self._ask_doctor) if self._broke_off else ""
        final = await asyncio.to_thread(self._read)
        broken = [Offence("time", "", self._broke_off)] if self._broke_off else []
        found = check(self.log.entries, final, may_fail=may_fail)
        return Outcome(
            title=title, took_s=took_s, entries=self.log.entries, final=final, faults=faults,
            samples=self.pool.samples, skipped=self.pool.missing,
            offences=[
                *broken, *found, *_exits(self.pool), *check_memory(self.pool.samples), *offences
            ],
            notes=(*notes, doctor) if doctor else tuple(notes),
        )  # fmt: skip

    def _ask_doctor(self) -> str:
        """What `preble doctor` finds of a pool that is stuck."""
        self.pool.server.start()
        command = [sys.executable, "-m", "preble", "doctor", "--redis-url", self.pool.redis_url]
        asked = subprocess.run(command, check=False, capture_output=True, text=True)
        return asked.stdout + asked.stderr

    def _read(self) -> Remains:
        """Once more if anything is left: an empty queue is taken off its list a moment later."""
        self.pool.heal()
        with self.pool.server.client(timeout_s=60.0) as client:
            final = read_final(client)
            if final.residue or any(final.held.values()):
                time.sleep(SETTLE_S)
                final = read_final(client)
        return final


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of it, or none any more."""
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each)


def _exits(pool: Pool) -> list[Offence]:
    """Nobody asked these processes to end, and no fault is worth dying of."""
    return [
        Offence("ended by itself", each.name, f"status {each.status}, saying\n{each.said}")
        for each in pool.exits
    ]
