"""A network namespace: a worker in it reaches Redis by one cable, which can be pulled.

The kernel then loses packets, and nobody is told. It needs root and `ip`; runs without it skip
this kind of fault.
"""

import os
import shutil
import subprocess
from typing import Final, Self

_PREFIX_BITS: Final = 30
_SUBNETS: Final = 1 << 14
"""Of four addresses each, in 10.213.0.0/16."""


class Namespace:
    """One namespace and the pair of devices that leads into it.

    Args:
        number: Names the namespace, its devices and its addresses, so that runs go side by side.
    """

    def __init__(self, number: int) -> None:
        self.name = f"chaos{number}"
        self.command = ("ip", "netns", "exec", self.name)
        high, low = divmod(number % _SUBNETS * 4, 256)
        self.host = f"10.213.{high}.{low + 1}"
        self._inside = f"10.213.{high}.{low + 2}"

    @staticmethod
    def why_not() -> str:
        """Why there can be none here; empty if there can."""
        if os.geteuid() != 0:
            return "network namespaces need root"
        if not shutil.which("ip"):
            return "there is no `ip` (iproute2)"
        return ""

    @classmethod
    def create(cls) -> Self:
        """Make it. Raises: CalledProcessError if the kernel does not let us."""
        made = cls(os.getpid())
        try:
            _ip(f"netns add {made.name}")
            _ip(f"link add {made._outer} type veth peer name eth0 netns {made.name}")
            _ip(f"addr add {made.host}/{_PREFIX_BITS} dev {made._outer}")
            _ip(f"link set {made._outer} up")
            _ip(f"-n {made.name} addr add {made._inside}/{_PREFIX_BITS} dev eth0")
            _ip(f"-n {made.name} link set eth0 up")
            _ip(f"-n {made.name} link set lo up")
        except subprocess.CalledProcessError:
            made.remove()
            raise
        return made

    def pull(self) -> None:
        """Take the cable out."""
        _ip(f"link set {self._outer} down")

    def plug(self) -> None:
        """Put it in again."""
        _ip(f"link set {self._outer} up")

    def remove(self) -> None:
        """Undo `create`, as far as it went; the devices go with the namespace."""
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)  # noqa: S607  # PATH finds it

    @property
    def _outer(self) -> str:
        return f"v{self.name}"[:15]


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)  # noqa: S607  # PATH finds it
