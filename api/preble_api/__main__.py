"""The api as a process: `preble-api`, or `python -m preble_api`; settings from the environment."""

import asyncio
import gc
import os
import sys

import uvloop

from preble.broker.redis import RedisBroker
from preble.broker.redis_api_keys import RedisApiKeys
from preble.config import Settings, load_settings
from preble.errors import PrebleError
from preble.logs import configure_logging
from preble.metrics import RedisCalls, process_registry
from preble.tokenizer import load_tokenizer
from preble.tracing import create_tracing
from preble_api.app import create_app
from preble_api.server import ApiServer, listen


def main() -> None:
    """Serve until told to stop. Exits with one line and status 1 if that is not possible."""
    # Texts are spread over `tokenizer_threads` here; the library would take all cores.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        settings = load_settings(os.environ)
        configure_logging(settings.log_level, "api", settings.log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except PrebleError as error:
        sys.exit(f"preble-api: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


async def serve(settings: Settings) -> None:
    """Join the pool and serve until a signal.

    Raises:
        PrebleError: If a setting, the port, the tokenizer, Redis or the pool prevents it.
    """
    bound = listen(settings)
    tokenizer = load_tokenizer(settings.tokenizer)
    registry = process_registry()
    calls = RedisCalls(registry)
    broker = RedisBroker.from_settings(settings, calls)
    api_keys = RedisApiKeys.from_settings(settings, calls)
    tracing = create_tracing(settings.tracing, "api")
    app = create_app(
        settings, broker, tokenizer, api_keys=api_keys, registry=registry, tracing=tracing
    )
    # What is there now stays: looking through it for garbage takes 40 ms, again and again.
    gc.freeze()
    # Around the server, not inside: uvicorn would turn an error here into a traceback.
    async with app.router.lifespan_context(app):
        server = ApiServer(app, bound, max_connections=settings.max_connections)
        await server.run_until_stopped()
    await asyncio.to_thread(tracing.close)


if __name__ == "__main__":
    main()
