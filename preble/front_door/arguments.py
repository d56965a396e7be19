"""What users write, checked: URLs, devices, the names of policies. Pure."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from preble.config import PolicyName, check_policy
from preble.errors import ConfigError
from preble.serve.network import is_server_url

POLICIES: Final[dict[str, PolicyName]] = {
    "custom": "e2",
    "round_robin": "round_robin",
    "lor": "least_outstanding",
}
"""The original's names for policies."""

_GENERATE: Final = "/generate"
_AROUND: Final = " \t\"'[]()"
"""What a list on a command line may have around its items."""


def policy_of(name: str) -> str:
    """The policy of one of the original's names, or of one's own. Raises: ConfigError."""
    if name in POLICIES:
        return POLICIES[name]
    if ":" not in name:
        msg = (
            f"runtime_selection_policy {name!r} is unknown: choose {', '.join(POLICIES)}, or name "
            "one of your own as module:attribute"
        )
        raise ConfigError(msg)
    check_policy(name)
    return name


def urls_of(given: str | Sequence[str]) -> list[str]:
    """Where the servers listen, without `/generate`.

    Raises:
        ConfigError: If there is none, one is no URL of a server, or one comes twice.
    """
    urls = [_base_url(url) for url in _items(given)]
    if not urls:
        msg = "runtime_urls names no server: give URLs such as http://127.0.0.1:30000/generate"
        raise ConfigError(msg)
    _require_once("runtime_urls", urls)
    return urls


def device_groups(given: str | int | Sequence[int], *, tp_size: int) -> list[list[int]]:
    """The devices of each engine: `tp_size` consecutive ones.

    Raises:
        ConfigError: If there is no device, one is no number from 0 or comes twice, or they
            cannot be divided into such groups.
    """
    devices = [_device(item) for item in _items(given)]
    if not devices:
        raise ConfigError("devices names no GPU: give numbers such as [0, 1]")
    _require_once("devices", devices)
    if tp_size < 1 or len(devices) % tp_size:
        msg = (
            f"tp_size {tp_size} does not divide the {len(devices)} devices: "
            "give a multiple of tp_size devices"
        )
        raise ConfigError(msg)
    return [devices[first : first + tp_size] for first in range(0, len(devices), tp_size)]


def _items(given: str | int | Sequence[str] | Sequence[int]) -> list[str]:
    """The items of a list, or of a text such as `[0, 1]` or `0,1`."""
    texts = [str(given)] if isinstance(given, str | int) else [str(each) for each in given]
    items = [item.strip(_AROUND) for text in texts for item in text.split(",")]
    return [item for item in items if item]


def _base_url(url: str) -> str:
    if not is_server_url(url) or urlsplit(url).query or urlsplit(url).fragment:
        msg = (
            f"runtime_urls: {url!r} is no URL of a server, such as http://127.0.0.1:30000/generate"
        )
        raise ConfigError(msg)
    return url.rstrip("/").removesuffix(_GENERATE).rstrip("/")


def _device(item: str) -> int:
    if not (item.isascii() and item.isdigit()):
        msg = f"devices: {item!r} is no GPU's number, such as 0"
        raise ConfigError(msg)
    return int(item)


def _require_once(name: str, items: Sequence[str | int]) -> None:
    for item in items:
        if items.count(item) > 1:
            msg = f"{name} names {item} more than once: name it once"
            raise ConfigError(msg)
