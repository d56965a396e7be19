"""The front door of the original Preble: its two functions, in front of this whole stack.

Both start Valkey (unless PREBLE_REDIS_URL names a server), workers, scheduler and api, and
stop everything on Ctrl-C or SIGTERM. What they do not take as an argument is a setting as
everywhere, `PREBLE_<NAME>` or a key of `preble.toml`.

    start_server                   engines that run already, by URL; they say what they serve
    start_server_and_load_models   engines that are started here, one for each group of GPUs
"""

import os
import sys
from collections.abc import Mapping, Sequence

from preble.config import ENV_PREFIX, flat_environ
from preble.front_door.pools import models_settings, server_settings
from preble.front_door.servers import ask_servers
from preble.serve import serve

__all__ = ["start_server", "start_server_and_load_models"]


def start_server(
    runtime_selection_policy: str = "custom",
    runtime_urls: str | Sequence[str] = "http://127.0.0.1:30000/generate",
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str = "mistralai/Mistral-7B-v0.1",
) -> None:
    """Serve in front of SGLang or vLLM servers that run already, until Ctrl-C or SIGTERM.

    Tokenizer, context length and page size are those of the servers; they are awaited for a
    minute.

    Args:
        runtime_selection_policy: `custom` (E2), `round_robin`, `lor` (least outstanding), or a
            policy of your own as `module:attribute`.
        runtime_urls: One URL for each server, separated by commas or as a list; the
            `/generate` at the end may be left out.
        host: Where the api listens.
        port: Its port; 0 for a free one.
        model: The name that clients see.

    Raises:
        ConfigError: If an argument is wrong, a server does not answer or is no engine, the
            servers disagree, or no tokenizer is found for their model.
        StackFailed: If something does not become ready.
    """
    environ = flat_environ(os.environ)
    settings = server_settings(
        runtime_selection_policy, runtime_urls, environ, ask=ask_servers, say=_say,
        host=host, port=port, model=model,
    )  # fmt: skip
    serve(settings, embedded=_is_embedded(environ))


def start_server_and_load_models(
    model_name: str = "mistralai/Mistral-7B-v0.1",
    devices: str | int | Sequence[int] = (0, 1),
    host: str = "127.0.0.1",
    port: int = 8000,
    tp_size: int = 1,
) -> None:
    """Start an SGLang server on each device and serve in front of them, as `start_server`.

    Args:
        model_name: What the servers load: a folder, or a model's name on the hub.
        devices: Numbers of the GPUs. Without a GPU they only count the servers.
        host: Where the api listens.
        port: Its port; 0 for a free one.
        tp_size: GPUs that share one model; each server takes so many of `devices`, in order.

    Raises:
        ConfigError: If an argument is wrong, or an engine cannot be started here.
        StackFailed: If something does not become ready.
    """
    environ = flat_environ(os.environ)
    settings = models_settings(model_name, devices, environ, tp_size=tp_size, host=host, port=port)
    serve(settings, embedded=_is_embedded(environ))


def _is_embedded(environ: Mapping[str, str]) -> bool:
    return f"{ENV_PREFIX}REDIS_URL" not in environ


def _say(line: str) -> None:
    print(f"preble: {line}", file=sys.stderr, flush=True)  # noqa: T201 - the command's own output
