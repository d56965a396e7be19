"""Keeps jobs and faults in step, so that neither is done while much of the other is left."""

import asyncio
from typing import Final

AHEAD: Final = 4
"""Faults that jobs may run ahead, or fall behind."""


class Pace:
    """How far a run has come.

    Args:
        num_jobs: To be submitted.
        num_faults: To be done meanwhile; with 0 of them jobs wait for nothing.
    """

    def __init__(self, num_jobs: int, num_faults: int) -> None:
        self._jobs_per_fault = num_jobs / num_faults if num_faults else float("inf")
        self._num_jobs = num_jobs
        self._num_faults = num_faults
        self._submitted = 0
        self._begun = 0
        self._moved = asyncio.Condition()

    async def submit(self, number: int) -> None:
        """Wait until so many more jobs may be submitted."""
        async with self._moved:
            await self._moved.wait_for(self._jobs_may)
            self._submitted += number
            self._moved.notify_all()

    async def begin_fault(self) -> None:
        """Wait until one more fault may be done."""
        async with self._moved:
            await self._moved.wait_for(self._faults_may)
            self._begun += 1
            self._moved.notify_all()

    def _jobs_may(self) -> bool:
        """Once all faults were done nothing holds them back: refused ones are submitted anew."""
        allowed = (self._begun + AHEAD) * self._jobs_per_fault
        return self._begun >= self._num_faults or self._submitted <= allowed

    def _faults_may(self) -> bool:
        return (
            self._submitted >= self._num_jobs
            or self._begun * self._jobs_per_fault <= self._submitted
        )
