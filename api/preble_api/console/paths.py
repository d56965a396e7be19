"""Where the console lies, and which of its pages need no login."""

from typing import Final

ROOT: Final = "/ui"
LOGIN: Final = f"{ROOT}/login"
LOGOUT: Final = f"{ROOT}/logout"
STATIC: Final = f"{ROOT}/static"
FLEET: Final = f"{ROOT}/fleet"
PREFIXES: Final = f"{ROOT}/prefixes"
JOBS: Final = f"{ROOT}/jobs"
BATCHES: Final = f"{ROOT}/batches"
LATENCY: Final = f"{ROOT}/latency"
DEAD: Final = f"{ROOT}/dead"


def is_console(path: str) -> bool:
    """Whether a request's path is of the console."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def is_open(path: str) -> bool:
    """Whether it needs no login: coming and going, and what that looks like."""
    return path in {LOGIN, LOGOUT} or path.startswith(f"{STATIC}/")
