"""How the supervised SGLang server is started: its command line and environment. Pure."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from preble.config import ENV_PREFIX, Settings
from preble.errors import ConfigError
from preble.tokenizer import EMBEDDED as EMBEDDED_TOKENIZER

_OURS: Final = {
    "--model-path": "model_path",
    "--model": "model_path",
    "--tokenizer-path": "tokenizer",
    "--context-length": "context_length",
    "--page-size": "page_size",
    "--device": "device",
    "--tp-size": "tp_size",
    "--tensor-parallel-size": "tp_size",
    "--max-running-requests": "slots",
    "--max-total-tokens": "kv_capacity_tokens",
    "--chunked-prefill-size": "chunk_tokens",
}
"""Arguments that are settings of ours, which must know them."""

_FIXED: Final = frozenset(
    {"--host", "--port", "--kv-events-config", "--schedule-policy", "--disable-radix-cache"}
    # With the first, events are pieces of a text; the second can set all the others.
    | {"--incremental-streaming-output", "--config", "--skip-tokenizer-init"}
    | {"--dp-size", "--data-parallel-size", "--nnodes", "--disaggregation-mode", "--api-key"}
)
"""Arguments whose change would break what Preble relies on."""

_CPU: Final = (
    *("--device", "cpu"),
    *("--attention-backend", "torch_native"),
    *("--sampling-backend", "pytorch"),
    *("--grammar-backend", "none"),
    # Half precision is emulated on most CPUs, and several times slower.
    *("--dtype", "float32"),
)
_GPU: Final = ("--attention-backend", "flashinfer")

_CPU_CONTEXTS: Final = 4
"""Contexts that a KV cache holds for want of a number: on a CPU, SGLang would take most of the
machine's memory, and so would the server beside it."""

_KEPT_EVENT_BATCHES: Final = 10_000
"""What the server can replay, in batches: one for each prefill step."""


class ServerPlace(msgspec.Struct, frozen=True):
    """Where a server listens, all of it out of reach from other machines."""

    port: int
    folder: Path
    """For sockets; only this user may enter it."""

    @property
    def url(self) -> str:
        """Of its HTTP server."""
        return f"http://127.0.0.1:{self.port}"


def server_command(
    settings: Settings, python: Path, kind: Literal["cpu", "gpu"], place: ServerPlace
) -> tuple[str, ...]:
    """The command line of one SGLang server.

    Args:
        settings: Whose `engine_args` come last, and so win over what they repeat.
        python: An interpreter that has SGLang.
        kind: What the interpreter's SGLang is made for.
        place: Where it is to listen.

    Raises:
        ConfigError: If `engine_args` holds what is not to be set there.
    """
    extra = _extra_arguments(settings.engine_args)
    has_own_tokenizer = settings.tokenizer not in {settings.model_path, EMBEDDED_TOKENIZER}
    capacity_tokens = settings.kv_capacity_tokens
    if kind == "cpu" and not capacity_tokens:
        capacity_tokens = _CPU_CONTEXTS * settings.context_length
    return (
        # -P: nothing in the current folder may pass for a module.
        *(str(python), "-P", "-m", "sglang.launch_server"),
        *("--model-path", settings.model_path),
        *(("--tokenizer-path", settings.tokenizer) if has_own_tokenizer else ()),
        *("--served-model-name", settings.model),
        *("--host", "127.0.0.1"),
        *("--port", str(place.port)),
        *("--context-length", str(settings.context_length)),
        *("--page-size", str(settings.page_size)),
        *("--chunked-prefill-size", str(settings.chunk_tokens)),
        *("--max-running-requests", str(settings.slots)),
        *(("--max-total-tokens", str(capacity_tokens)) if capacity_tokens else ()),
        *("--tp-size", str(settings.tp_size)),
        # The order of jobs is the dispatcher's: a second sorting would undo it.
        *("--schedule-policy", "fcfs"),
        *("--kv-events-config", _kv_events_config(place.folder)),
        "--enable-cache-report",
        # Else an idle server keeps a core busy.
        "--sleep-on-idle",
        *("--log-level-http", "warning"),
        *(_CPU if kind == "cpu" else _GPU),
        *extra,
    )


def server_environ(settings: Settings, environ: Mapping[str, str], *, cores: int) -> dict[str, str]:
    """The environment of one SGLang server.

    Args:
        settings: `workers` tells how many servers share the cores.
        environ: This process's own; Preble's variables are not passed on.
        cores: Of this machine.
    """
    made = {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)}
    # The first selects kernels that CPU builds lack; the second makes each start recompile.
    for name in ("SGLANG_USE_CPU_ENGINE", "PYTHONDONTWRITEBYTECODE"):
        made.pop(name, None)
    made["PYTHONUNBUFFERED"] = "1"
    made.setdefault("OMP_NUM_THREADS", str(max(1, cores // settings.workers)))
    if settings.gpu:
        made["CUDA_VISIBLE_DEVICES"] = settings.gpu
        # Else CUDA would count from the fastest GPU, and not as nvidia-smi does.
        made.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if settings.model_path and Path(settings.model_path).is_dir():
        made |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return made


def _extra_arguments(engine_args: str) -> list[str]:
    try:
        extra = shlex.split(engine_args)
    except ValueError as error:
        msg = f"setting engine_args: {error}"
        raise ConfigError(msg) from None
    for argument in extra:
        name = argument.partition("=")[0].replace("_", "-")
        # SGLang takes any beginning of a name for the name.
        if ours := _that_begins(name, _OURS):
            msg = f"setting engine_args: {name} is Preble's setting {_OURS[ours]}; use that"
            raise ConfigError(msg)
        if _that_begins(name, _FIXED):
            msg = f"setting engine_args: {name} cannot be set, for Preble relies on it"
            raise ConfigError(msg)
    return extra


def _that_begins(name: str, names: Iterable[str]) -> str | None:
    if not name.startswith("--"):
        return None
    return next((each for each in names if each.startswith(name)), None)


def _kv_events_config(folder: Path) -> str:
    config = {
        "publisher": "zmq",
        "endpoint": f"ipc://{folder}/events",
        "replay_endpoint": f"ipc://{folder}/replay",
        "buffer_steps": _KEPT_EVENT_BATCHES,
    }
    return msgspec.json.encode(config).decode()
