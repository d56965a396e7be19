"""The scheduler process: term after term, it leads or stands by.

    stand by ─▶ lead ─▶ ┌ load the pool ─▶ turn ─▶ turn ─▶ …   `leadership.py` ┐ ─▶ stand by
                        └ renew the lease each second, until it is another's ──┘

Any number may run; one leads, the others wait. Whatever a dead leader left half done is
either not done (jobs still wait) or done (jobs are assigned): there is no state between,
so a new leader loads the pool and goes on. Run it as `preble scheduler`.
"""

import asyncio
import logging
import os
import signal
import sys
from typing import Final
from uuid import uuid4

import uvloop

from preble.broker import Broker
from preble.broker.redis import RedisBroker
from preble.clock import Clock, SystemClock
from preble.config import Settings, load_settings
from preble.errors import BrokerUnavailable, ConfigError, NotLeader, PrebleError
from preble.leadership import Leadership
from preble.logs import configure_logging
from preble.messages import LeaderToken
from preble.metrics import RedisCalls, SchedulerMetrics, process_registry
from preble.metrics_server import serving_metrics

LEADER_LEASE_S: Final = 3.0
RENEW_EVERY_S: Final = 1.0
RETRY_AFTER_S: Final = 0.5

_log = logging.getLogger(__name__)


class SchedulerProcess:
    """Leads when it can, stands by when it cannot. `run` until `stop`."""

    def __init__(
        self, broker: Broker, settings: Settings, clock: Clock, metrics: SchedulerMetrics
    ) -> None:
        self._broker = broker
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stopping.set()

    async def run(self) -> None:
        """Lead or stand by until `stop`; survives a broker that is away for a while.

        Raises:
            PoolMismatch: If the pool has another schema.
        """
        while not self._stopping.is_set():
            holder = uuid4().hex  # new for each term: a token never comes twice
            try:
                await self._broker.agreement.agree_on_schema()
                token = await self._broker.lead(holder, ttl_s=LEADER_LEASE_S)
                if token:
                    await self._lead(holder, token)
                else:
                    await self._pause(RENEW_EVERY_S)
            except NotLeader:
                _log.warning("lost leadership; standing by")
            except BrokerUnavailable as error:
                _log.warning("%s; trying again", error)
                await self._pause(RETRY_AFTER_S)

    async def _lead(self, holder: str, token: LeaderToken) -> None:
        """One term: work and renew side by side, until one of them ends."""
        tasks = {
            asyncio.create_task(self._work(token)),
            asyncio.create_task(self._keep_leading(holder, token)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._metrics.end_term()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _work(self, token: LeaderToken) -> None:
        leadership = Leadership(self._broker, self._settings, self._clock, token, self._metrics)
        await leadership.load()
        while not self._stopping.is_set():
            await leadership.turn()
        await self._broker.resign(token)

    async def _keep_leading(self, holder: str, token: LeaderToken) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            renewed = await self._broker.lead(holder, ttl_s=LEADER_LEASE_S)
            if renewed == token:
                continue
            if renewed:  # the lease ran out, or was lost: what was loaded may be old
                await self._broker.resign(renewed)
            msg = "the term is over"
            raise NotLeader(msg)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


async def serve(settings: Settings) -> None:
    """Run a scheduler until SIGTERM or SIGINT."""
    registry = process_registry()
    broker = RedisBroker.from_settings(settings, RedisCalls(registry))
    process = SchedulerProcess(broker, settings, SystemClock(), SchedulerMetrics(registry))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop)
    try:
        async with serving_metrics(settings.metrics_host, settings.metrics_port, registry):
            await process.run()
    finally:
        await broker.close()


def main() -> int:
    """Entry of `python -m preble.scheduler_process`. Returns the exit code."""
    try:
        settings = load_settings(os.environ)
    except ConfigError as error:
        print(f"preble-scheduler: {error}", file=sys.stderr)  # noqa: T201  # before logging
        return 2
    configure_logging(settings.log_level, "scheduler", settings.log_format)
    try:
        uvloop.run(serve(settings))
    except PrebleError as error:
        _log.error("%s", error)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
