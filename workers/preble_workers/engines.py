"""Which engine the settings ask for."""

import os

from preble.clock import Clock
from preble.config import Settings
from preble.cost_model import load_cost_model
from preble.engine_env import find_engine_python
from preble.errors import ConfigError
from preble.serve.network import is_server_url
from preble.tokenizer import EMBEDDED as EMBEDDED_TOKENIZER
from preble_workers.emulated_engine import EmulatedEngine
from preble_workers.engine import Engine, EngineInfo
from preble_workers.http_engine import HttpEngine
from preble_workers.noop_engine import NoopEngine
from preble_workers.sglang_engine import SGLangEngine


def create_engine(settings: Settings, clock: Clock) -> Engine:
    """An engine that has not been started.

    Raises:
        ConfigError: If a setting of the engine is missing or wrong.
    """
    info = EngineInfo(
        slots=settings.slots,
        kv_capacity_tokens=settings.kv_capacity_tokens,
        page_size=settings.page_size,
        context_length=settings.context_length,
    )
    match settings.engine:
        case "sglang" if settings.tokenizer == EMBEDDED_TOKENIZER:
            # Token ids of another vocabulary would be answered, with nonsense.
            msg = "setting tokenizer: engine 'sglang' needs its model's own, not `embedded`"
            raise ConfigError(msg)
        case "sglang":
            kind, python = find_engine_python(settings.device, os.environ)
            return SGLangEngine(settings, python, kind, info, clock)
        case "emulated" if not settings.kv_capacity_tokens:
            msg = "setting kv_capacity_tokens: engine 'emulated' needs a number above 0"
            raise ConfigError(msg)
        case "emulated":
            return EmulatedEngine(
                info,
                chunk_tokens=settings.chunk_tokens,
                cost_model=load_cost_model(settings.cost_model),
                speed=settings.emulated_speed,
                clock=clock,
            )
        case "http":
            url = _checked_url(settings.engine_url)
            return HttpEngine(
                url, assumed=info, block_size=settings.block_size, clock=clock,
                assumed_ttl_s=settings.assumed_ttl_s,
            )  # fmt: skip
        case "noop":
            return NoopEngine(info)


def _checked_url(url: str) -> str:
    """The URL without a closing slash. Raises: ConfigError if it names no HTTP server."""
    if not is_server_url(url):
        msg = (
            f"setting engine_url: engine 'http' needs the URL of an SGLang or vLLM server, "
            f"such as http://127.0.0.1:30000, not {url!r}"
        )
        raise ConfigError(msg)
    return url.rstrip("/")
