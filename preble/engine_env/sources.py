"""Where packages come from: what pip was told is told to uv.

A user who installed Preble through a mirror, a proxy or a folder of wheels has said so in
pip's variables. What is said to uv itself wins. Every package has a pinned hash, so no source
can put anything else in its place.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from preble.engine_env.errors import EngineEnvError
from preble.engine_env.pins import Pin

TORCH_CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index: the ordinary one has no CPU builds for Linux."""

_FROM_PIP: Final = {
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX": "PIP_EXTRA_INDEX_URL",
    "UV_FIND_LINKS": "PIP_FIND_LINKS",
    "UV_INSECURE_HOST": "PIP_TRUSTED_HOST",
    "UV_HTTP_TIMEOUT": "PIP_DEFAULT_TIMEOUT",
    "SSL_CERT_FILE": "PIP_CERT",
    "HTTPS_PROXY": "PIP_PROXY",
}
_OLD_NAMES: Final = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
_INDEXES: Final = (
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
)  # fmt: skip
# They would change what is installed, or where.
_UNWANTED: Final = (
    "UV_TORCH_BACKEND", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_SYSTEM_PYTHON", "UV_PYTHON",
    "UV_TARGET", "UV_PREFIX", "UV_EXCLUDE_NEWER", "PYTHONPATH", "PYTHONHOME",
)  # fmt: skip


def uv_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for uv: the given one, with pip's variables in uv's names."""
    told = {name: value for name, value in environ.items() if name not in _UNWANTED}
    for name, pip_name in _FROM_PIP.items():
        is_told = name in told or _OLD_NAMES.get(name) in told
        if environ.get(pip_name) and not is_told:
            told[name] = _in_uv_form(name, environ[pip_name])
    return told


def _in_uv_form(name: str, value: str) -> str:
    # pip parts a list with spaces, uv this one with commas.
    return ",".join(value.split()) if name == "UV_FIND_LINKS" else value


def without_indexes(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a call whose source stands on its command line."""
    return {name: value for name, value in environ.items() if name not in _INDEXES}


def ordinary_source(uv_told: Mapping[str, str]) -> tuple[str, ...]:
    """The arguments for every package but torch: what uv does not take from its variables."""
    # Any index may give a package, as with pip: the pinned hash decides, not the index.
    return ("--index-strategy", "unsafe-best-match", *_no_index(uv_told))


def _no_index(uv_told: Mapping[str, str]) -> tuple[str, ...]:
    is_asked = uv_told.get("PIP_NO_INDEX", "").lower() in {"1", "true", "yes", "on"}
    return ("--no-index",) if is_asked else ()


def torch_source(pin: Pin, torch_index: str, uv_told: Mapping[str, str]) -> tuple[str, ...]:
    """The arguments that tell uv where a build of PyTorch's own index is.

    Args:
        pin: The build.
        torch_index: The setting: a folder of wheels, or the URL of an index.
        uv_told: What `uv_environ` gave.

    Raises:
        EngineEnvError: If the setting names a folder that is not there.
    """
    if torch_index:
        return _named_source(torch_index)
    links = [link for link in uv_told.get("UV_FIND_LINKS", "").split(",") if link]
    for folder in links:
        if any(Path(folder).glob(f"torch-{pin.version}-*.whl")):
            # The network is not needed, and may not be there.
            return ("--no-index", "--find-links", folder)
    found = [part for link in links if "://" in link for part in ("--find-links", link)]
    return (*found, *(_no_index(uv_told) or ("--default-index", TORCH_CPU_INDEX)))


def _named_source(torch_index: str) -> tuple[str, ...]:
    if "://" in torch_index:
        return ("--default-index", torch_index)
    if not Path(torch_index).is_dir():
        raise EngineEnvError(
            f"PREBLE_TORCH_INDEX names no folder: {torch_index}; give a folder of wheels or a URL"
        )
    return ("--no-index", "--find-links", torch_index)
