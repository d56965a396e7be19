"""Asks `nvidia-smi` which GPUs there are: the setting `devices` may leave it to that."""

import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

import msgspec

from preble.config import Settings
from preble.errors import ConfigError
from preble.serve.devices import AUTO, Links, device_groups, read_links, read_listing, visible

_TIMEOUT_S: Final = 20.0
"""The first call after a boot wakes the driver, which takes seconds for each GPU."""


def with_devices(settings: Settings, environ: Mapping[str, str], *, on_gpus: bool) -> Settings:
    """The settings, with the GPUs of each worker named where that was left to us.

    Args:
        settings: Whose `devices` may be `auto`, or empty.
        environ: For CUDA_VISIBLE_DEVICES, which bounds what is taken.
        on_gpus: Whether engines of ours will compute there: two on one GPU would not fit, so an
            empty `devices` is `auto` then.

    Raises:
        ConfigError: If no GPUs can be found, or they make no groups of `tp_size`.
    """
    named = settings.devices.strip() or (AUTO if on_gpus else "")
    if named != AUTO:
        return settings
    gpus = visible(read_listing(_nvidia_smi("-L")), environ.get("CUDA_VISIBLE_DEVICES"))
    links: Links = _links() if settings.tp_size > 1 else {}
    return msgspec.structs.replace(settings, devices=device_groups(gpus, settings.tp_size, links))


def _links() -> Links:
    """None where they cannot be told, as in some containers: then numbers decide."""
    try:
        return read_links(_nvidia_smi("topo", "-m"))
    except ConfigError:
        return {}


def _nvidia_smi(*arguments: str) -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        msg = (
            "setting devices: `auto` asks nvidia-smi, which is not installed; "
            "name the GPUs, such as --devices '0;1', or leave it out"
        )
        raise ConfigError(msg)
    try:
        done = subprocess.run(  # noqa: S603  # a fixed tool with fixed arguments
            [tool, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(str(error)) from None
    if done.returncode:
        raise _failed((done.stderr or done.stdout).strip() or f"status {done.returncode}")
    return done.stdout


def _failed(reason: str) -> ConfigError:
    return ConfigError(f"setting devices: nvidia-smi failed: {reason}")
