"""One instance, its scheduler and its worker, by hand, on any broker."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from msgspec.structs import replace
from support import SMALL_BOUNDS, assignment, completed, record, submission

from preble.broker import Broker
from preble.messages import (
    DEFAULT_TENANT,
    ClaimedJob,
    JobFailure,
    JobId,
    JobState,
    LeaderToken,
    Outcome,
)

WIDE: Final = replace(SMALL_BOUNDS, max_jobs=10_000, max_prompt_bytes=1 << 30)
Make = Callable[..., Awaitable[Broker]]
"""Makes a broker whose bounds are wide but for those named."""

LEASE_S: Final = 60.0
BROKEN: Final = JobFailure("engine_refused", "too hot")


class Hands:
    """Brings jobs where a test needs them."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._claims = count(1)

    async def admit(
        self, *names: str, tenant: str = DEFAULT_TENANT, deadline_s: float | None = None
    ) -> None:
        jobs = [submission(name, tenant=tenant, deadline_s=deadline_s) for name in names]
        [admitted] = await self.broker.admit([jobs])
        assert not isinstance(admitted, Exception), admitted

    async def leader(self) -> LeaderToken:
        token = await self.broker.lead("leader", ttl_s=LEASE_S)
        assert token
        return token

    async def place(self) -> None:
        """Every waiting job on gpu0."""
        await self.broker.register(record(), lease_s=LEASE_S)
        waiting = await self.broker.peek(100)
        moves = [(job.ingress, assignment(job)) for job in waiting]
        assert all(await self.broker.route(await self.leader(), moves))

    async def claim(self, lease_s: float = LEASE_S) -> list[ClaimedJob]:
        """Every job placed on gpu0."""
        return await self.broker.claim(
            record(), number=next(self._claims), jobs=100, tokens=100_000, num_held=0,
            lease_s=lease_s,
        )  # fmt: skip

    async def run(self) -> list[ClaimedJob]:
        """Let every waiting job run."""
        await self.place()
        return await self.claim()

    async def fail(self, *names: str, tenant: str = DEFAULT_TENANT) -> list[ClaimedJob]:
        """New jobs that fail."""
        await self.admit(*names, tenant=tenant)
        return await self.fail_waiting()

    async def fail_waiting(self) -> list[ClaimedJob]:
        """Let every waiting job run and fail."""
        claimed = await self.run()
        outcomes = [Outcome(job.lease, failure=BROKEN) for job in claimed]
        assert all(await self.broker.finish(record(), outcomes))
        return claimed

    async def complete_waiting(self) -> None:
        """Let every waiting job run and complete."""
        outcomes = [completed(job.lease) for job in await self.run()]
        assert all(await self.broker.finish(record(), outcomes))

    async def reap(self) -> None:
        await self.broker.reap(await self.leader(), limit=100)

    async def state(self, name: str) -> JobState | None:
        view = await self.broker.view(JobId(name))
        return view.state if view else None
