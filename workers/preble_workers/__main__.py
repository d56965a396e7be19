"""Entry of `python -m preble_workers`, which is `preble worker`."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import Final

import uvloop

from preble.broker.redis import RedisBroker
from preble.clock import SystemClock
from preble.config import Settings, load_settings
from preble.errors import ConfigError, PoolMismatch, PrebleError
from preble.logs import configure_logging
from preble.metrics import RedisCalls, WorkerMetrics, process_registry
from preble.metrics_server import serving_metrics
from preble.tokenizer import load_tokenizer
from preble.tracing import create_tracing
from preble_workers.engines import create_engine
from preble_workers.life import DRAIN_S
from preble_workers.recorder import Recorder
from preble_workers.worker import Worker

LEAVE_S: Final = 7.0
"""For telling the pool goodbye and ending the engine, after the running jobs had `DRAIN_S`."""

_log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT, then drain."""
    clock = SystemClock()
    tokenizer = load_tokenizer(settings.tokenizer)
    engine = create_engine(settings, clock)
    registry = process_registry()
    broker = RedisBroker.from_settings(settings, RedisCalls(registry))
    draining = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, draining.set)
    tracing = create_tracing(settings.tracing, "worker")
    recorder = Recorder(WorkerMetrics(registry), tracing, clock, model=settings.model)
    worker = Worker(broker, engine, settings, tokenizer, clock, recorder)
    try:
        async with serving_metrics(settings.metrics_host, settings.metrics_port, registry):
            await _run_until_drained(worker, draining)
    finally:
        await broker.close()
        await asyncio.to_thread(tracing.close)


async def _run_until_drained(worker: Worker, draining: asyncio.Event) -> None:
    """Run; once draining, for the grace time at most, even if Redis or the engine is away."""
    running = asyncio.create_task(worker.run(draining))
    asked = asyncio.create_task(draining.wait())
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    await asyncio.wait({running}, timeout=DRAIN_S + LEAVE_S if draining.is_set() else None)
    if not running.done():
        _log.warning("could not leave the pool in time; its leases will run out")
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def main() -> int:
    """Run the worker that the environment describes. Returns the exit code."""
    try:
        settings = load_settings(os.environ)
    except ConfigError as error:
        print(f"preble-worker: {error}", file=sys.stderr)  # noqa: T201  # before logging
        return 2
    configure_logging(settings.log_level, f"worker {settings.instance}", settings.log_format)
    try:
        uvloop.run(serve(settings))
    except (ConfigError, PoolMismatch) as error:
        _log.error("%s", error)
        return 2
    except PrebleError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
