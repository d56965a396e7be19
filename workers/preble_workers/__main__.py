"""Entry of `python -m preble_workers`, which is `preble worker`."""

import asyncio
import logging
import os
import signal
import sys

import uvloop

from preble.broker.redis import RedisBroker
from preble.clock import SystemClock
from preble.config import Settings, load_settings
from preble.errors import ConfigError, PoolMismatch, PrebleError
from preble.logs import configure_logging
from preble.tokenizer import load_tokenizer
from preble_workers.engines import create_engine
from preble_workers.worker import Worker

_log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT, then drain."""
    clock = SystemClock()
    tokenizer = load_tokenizer(settings.tokenizer)
    engine = create_engine(settings, clock)
    broker = RedisBroker.from_settings(settings)
    draining = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, draining.set)
    try:
        await Worker(broker, engine, settings, tokenizer, clock).run(draining)
    finally:
        await broker.close()


def main() -> int:
    """Run the worker that the environment describes. Returns the exit code."""
    try:
        settings = load_settings(os.environ)
    except ConfigError as error:
        print(f"preble-worker: {error}", file=sys.stderr)  # noqa: T201  # before logging
        return 2
    configure_logging(settings.log_level, f"worker {settings.instance}")
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
