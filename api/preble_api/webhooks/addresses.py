"""Which addresses may be told, so that nobody reaches inside the network through this api.

A name is looked up here, once for each attempt, and the connection goes to an address that was
checked: a name that leads elsewhere the moment after gains nothing.
"""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from preble.errors import ConfigError
from preble_api.webhooks.lookups import Lookup, Lookups
from preble_api.webhooks.targets import Target

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_RELAYS: Final = ipaddress.IPv4Network("192.88.99.0/24")
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
_NOT_GLOBAL_6: Final = tuple(
    ipaddress.IPv6Network(each) for each in ("2001::/23", "2001:db8::/32", "3fff::/20")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_BITS: Final = 0xFFFF_FFFF


class TargetRefused(Exception):
    """A webhook leads where none may."""


class TargetUnknown(Exception):
    """The name of a webhook's host leads nowhere just now."""


def is_public(address: Address) -> bool:
    """Whether an address is anybody's: not loopback, private, multicast or such."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and address not in _RELAYS
    if inner := _carried(address):
        return is_public(inner)
    return address in _GLOBAL_6 and not any(address in each for each in _NOT_GLOBAL_6)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, where it is made of one."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _IPV4_BITS)
    return address.ipv4_mapped or address.sixtofour


class Guard:
    """Turns targets into addresses that may be told.

    Args:
        allowed: Receivers that may be inside, as the setting `webhook_allow` has them.
        lookup: Of names.

    Raises:
        ConfigError: If the setting is wrong.
    """

    def __init__(self, allowed: str, lookup: Lookup | None = None) -> None:
        entries = [entry.strip().lower() for entry in allowed.split(",") if entry.strip()]
        self._networks = [_network(entry) for entry in entries if "/" in entry]
        self._places = {_place(entry) for entry in entries if "/" not in entry}
        self._lookups = Lookups(lookup or _look_up)

    def close(self) -> None:
        """Look up no more names."""
        self._lookups.close()

    async def address_of(self, target: Target, *, attempt: int, tenant: str) -> str:
        """An address of a target; of several, the next one with each attempt.

        Raises:
            TargetRefused: If any of its addresses may not be told.
            TargetUnknown: If it has none just now.
            LookupsCrowded: If too many names, of this tenant or at all, are being looked up.
        """
        try:
            found = await self._lookups.addresses(target.host, target.port, tenant)
        except (OSError, UnicodeError):
            raise TargetUnknown("the name of the host cannot be looked up") from None
        if not found:
            raise TargetUnknown("the name of the host has no address")
        if (target.host, target.port) not in self._places:
            for address in found:
                self._require_allowed(address)
        return found[attempt % len(found)]

    def _require_allowed(self, text: str) -> None:
        address = ipaddress.ip_address(text.partition("%")[0])
        if is_public(address) or any(address in network for network in self._networks):
            return
        msg = "the host's address is not public; PREBLE_WEBHOOK_ALLOW can allow it"
        raise TargetRefused(msg)


def _look_up(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError as error:
        msg = f"setting webhook_allow: {error}"
        raise ConfigError(msg) from None


def _place(entry: str) -> tuple[str, int]:
    host, _, port = entry.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        msg = (
            f"setting webhook_allow: {entry} is neither host:port nor a network such as 10.0.0.0/8"
        )
        raise ConfigError(msg)
    return host.strip("[]"), int(port)
