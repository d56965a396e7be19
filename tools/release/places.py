"""Where things lie in the source tree."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RUNTIME_LOCK: Final = ROOT / "requirements/runtime.lock"
TOOLS_LOCK: Final = ROOT / "requirements/release.lock"
PYPROJECT: Final = ROOT / "pyproject.toml"

PACKAGES: Final = {
    "preble": ROOT / "preble",
    "preble_api": ROOT / "api/preble_api",
    "preble_workers": ROOT / "workers/preble_workers",
}
"""All that users get, by the name under which they import it."""
