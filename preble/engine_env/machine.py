"""What this machine is, and why it can or cannot run an engine environment."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from preble.engine_env.layout import EngineEnvKind, env_folder, is_installed

_GIB: Final = 1024**3
NEEDED_BYTES: Final[Mapping[EngineEnvKind, int]] = {
    "cpu": 5 * _GIB, "gpu": 20 * _GIB, "vllm-cpu": 5 * _GIB,
}  # fmt: skip
"""The environment, its downloads and the embedded model."""

NEEDED_GLIBC: Final = (2, 34)
"""What the engines' wheels ask for (manylinux_2_34): Debian 12, Ubuntu 22.04, RHEL 9 have it."""

NEEDED_DRIVER: Final = 580
"""The first NVIDIA driver for CUDA 13."""

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts that decide. `gpus` are names; `driver` is NVIDIA's major version, 0 for none."""

    system: str
    architecture: str
    glibc: tuple[int, ...]
    cpu: str
    cpus: int
    has_avx2: bool
    gpus: tuple[str, ...]
    driver: int


def why_not(kind: EngineEnvKind, environ: Mapping[str, str]) -> str:
    """Why this machine cannot run an environment of this kind: one line, empty if it can."""
    return next(iter(all_reasons(kind, environ)), "")


def all_reasons(kind: EngineEnvKind, environ: Mapping[str, str]) -> list[str]:
    """Everything that speaks against an environment of this kind here, a line each."""
    folder = env_folder(kind, environ)
    found = reasons(kind, read_machine())
    # What is installed needs no more room.
    if not is_installed(kind, environ):
        found += reasons_of_space(kind, free_bytes(folder), folder)
    return found


def reasons(kind: EngineEnvKind, machine: Machine) -> list[str]:
    """What the machine lacks for good."""
    platform_reasons = _platform_reasons(machine)
    if platform_reasons:
        return platform_reasons
    return _gpu_reasons(machine) if kind == "gpu" else _cpu_reasons(machine)


def reasons_of_space(kind: EngineEnvKind, free: int, folder: Path) -> list[str]:
    """The room that is missing, if it is."""
    needed = NEEDED_BYTES[kind]
    if free >= needed:
        return []
    return [f"{folder} has {free / _GIB:.1f} GiB free; {needed // _GIB} GiB are needed"]


def _platform_reasons(machine: Machine) -> list[str]:
    found: list[str] = []
    if (machine.system, machine.architecture) != ("Linux", "x86_64"):
        where = f"{machine.system} {machine.architecture}"
        found.append(f"the engines' wheels are for Linux x86_64; this is {where}")
    elif machine.glibc < NEEDED_GLIBC:
        has = ".".join(map(str, machine.glibc)) or "another C library"
        found.append(
            f"the engines' wheels need glibc 2.34 (Debian 12, Ubuntu 22.04); this is {has}"
        )
    return found


def _cpu_reasons(machine: Machine) -> list[str]:
    return [] if machine.has_avx2 else ["the CPU has no AVX2 instructions"]


def _gpu_reasons(machine: Machine) -> list[str]:
    if not machine.driver:
        return ["no NVIDIA driver is loaded"]
    if machine.driver < NEEDED_DRIVER:
        return [f"NVIDIA driver {machine.driver} is too old for CUDA 13: {NEEDED_DRIVER} is needed"]
    return [] if machine.gpus else ["no NVIDIA GPU is visible"]


def read_machine() -> Machine:
    """The facts of this machine."""
    cpu_info = _read(_PROC / "cpuinfo")
    gpus, driver = nvidia()
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        glibc=_glibc(),
        cpu=_first(r"model name\s*: (.+)", cpu_info) or platform.machine(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        has_avx2="avx2" in _first(r"flags\s*: (.+)", cpu_info).split(),
        gpus=gpus,
        driver=driver,
    )


def nvidia() -> tuple[tuple[str, ...], int]:
    """The names of the NVIDIA GPUs and the driver's major version, 0 for none."""
    driver = _first(r"(?:Module|x86_64)\s+(\d+)\.", _read(_PROC / "driver/nvidia/version"))
    files = sorted((_PROC / "driver/nvidia/gpus").glob("*/information"))
    if driver and files:
        return tuple(_first(r"Model:\s*(.+)", _read(file)) for file in files), int(driver)
    return _from_nvidia_smi()


def _from_nvidia_smi() -> tuple[tuple[str, ...], int]:
    # Some containers and WSL have the tool and not the folder in /proc.
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return (), 0
    query = [tool, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return (), 0
    return _parse_smi(done.stdout.splitlines() if done.returncode == 0 else [])


def _parse_smi(lines: Iterable[str]) -> tuple[tuple[str, ...], int]:
    rows = [line.split(", ", 1) for line in lines if ", " in line]
    driver = _first(r"(\d+)\.", rows[0][0]) if rows else ""
    return tuple(name.strip() for _, name in rows), int(driver or 0)


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be on."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


def _glibc() -> tuple[int, ...]:
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError, AttributeError):
        return ()
    return tuple(int(part) for part in version.rpartition(" ")[2].split(".")[:2])


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else ""
