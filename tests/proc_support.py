"""What the kernel tells of processes, any of which may end while one looks."""

from pathlib import Path


def child_pids(parent: int) -> list[int]:
    """Of all the process's threads; those of a thread that ends meanwhile move to another one."""
    files = [task / "children" for task in Path(f"/proc/{parent}/task").iterdir()]
    return [int(pid) for file in files for pid in _read(file).split()]


def command_line(pid: int) -> str:
    """Empty for a zombie, and for a process that is gone."""
    return _read(Path(f"/proc/{pid}/cmdline"))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    state = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return not state or state[0] == "Z"


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
