"""A `/generate` that is answered by hand."""

import asyncio
from collections.abc import Sequence

import httpx2
from api_support import OneWorker

from preble.broker.memory import MemoryBroker
from preble.messages import JobFailure, WaitingJob

WITHIN_S = 20.0


class Asked:
    """A request that is being answered by hand."""

    def __init__(self, client: httpx2.AsyncClient, broker: MemoryBroker, body: object) -> None:
        self._broker = broker
        self._reply = asyncio.create_task(client.post("/generate", json=body))
        self._worker = OneWorker(broker)

    async def job(self) -> WaitingJob:
        async with asyncio.timeout(WITHIN_S):
            while not (waiting := await self._broker.peek(10)):  # noqa: ASYNC110  # see support.eventually
                await asyncio.sleep(0)
        [job] = waiting
        return job

    async def completed(self, *, after: Sequence[str] = ()) -> httpx2.Response:
        """The answer, once a worker has told some text of it and then all."""
        await self._run()
        for number, text in enumerate(after):
            await self._worker.tell_all(number, text, before="".join(after[:number]))
        await self._worker.complete_all()
        return await self.answer()

    async def failed(self, failure: JobFailure) -> httpx2.Response:
        await self._run()
        await self._worker.fail_all(failure)
        return await self.answer()

    async def _run(self) -> None:
        await self.job()
        await self._worker.assign_all()
        await self._worker.run_all()

    async def answer(self) -> httpx2.Response:
        async with asyncio.timeout(WITHIN_S):
            return await self._reply
