"""Runs programs with the Python of an engine environment, and finds the right one."""

import os
from collections.abc import Mapping
from pathlib import Path

from preble.config import Device, Settings
from preble.engine_env.children import started
from preble.engine_env.errors import EngineEnvError, EngineNotInstalled
from preble.engine_env.layout import SGLangKind, env_folder, is_installed, python_of
from preble.engine_env.machine import nvidia, why_not
from preble.folders import embedded_model_folder


def find_engine_python(device: Device, environ: Mapping[str, str]) -> tuple[SGLangKind, Path]:
    """The environment that serves a device, and its Python.

    `auto` takes the GPU if there is one and its engine is installed, else the CPU.

    Raises:
        EngineNotInstalled: If that environment is not there, naming the remedies.
    """
    kind = _kind_for(device, environ)
    if is_installed(kind, environ):
        return kind, python_of(env_folder(kind, environ))
    if reason := why_not(kind, environ):
        msg = f"the {kind} engine cannot run here: {reason}; use `--engine emulated`"
    else:
        msg = (
            f"the {kind} engine is not installed: run `preble engine install {kind}`, "
            "or use `--engine emulated`"
        )
    raise EngineNotInstalled(msg)


def require_engine(settings: Settings, environ: Mapping[str, str]) -> SGLangKind:
    """Check that engine `sglang` can be started as it is set.

    Returns:
        Where it will compute.

    Raises:
        EngineNotInstalled: If its environment, or the embedded model that it is to serve, is
            not there.
    """
    kind, _ = find_engine_python(settings.device, environ)
    embedded = embedded_model_folder(environ)
    if Path(settings.model_path) == embedded and not embedded.is_dir():
        msg = (
            "the embedded model is not made: run `preble engine install cpu`, or name another "
            "with PREBLE_MODEL_PATH"
        )
        raise EngineNotInstalled(msg)
    return kind


def _kind_for(device: Device, environ: Mapping[str, str]) -> SGLangKind:
    if device == "cuda":
        return "gpu"
    if device == "auto" and is_installed("gpu", environ) and nvidia()[0]:
        return "gpu"
    return "cpu"


def run_python(folder: Path, *arguments: str) -> str:
    """Run a program of an environment's Python. Returns what it printed last.

    Raises:
        EngineEnvError: If it failed, with its last line.
    """
    # -I: neither the caller's folder nor PYTHONPATH nor the user's packages may be seen.
    command = [str(python_of(folder)), "-I", *arguments]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    try:
        with started(command, environ, folder) as child:
            output, errors = child.communicate()
    except OSError as error:
        raise EngineEnvError(f"{command[0]}: {(error.strerror or str(error)).lower()}") from None
    if child.returncode:
        reason = _last_line(errors) or f"status {child.returncode}"
        raise EngineEnvError(f"{command[0]} failed: {reason}")
    return _last_line(output)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
