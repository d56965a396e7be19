"""A network namespace: a worker in it reaches Redis by one cable, which can be pulled.

The kernel then loses packets, and nobody is told. It needs root and `ip`; runs without it skip
this kind of fault.
"""

import os
import shutil
import subprocess
from typing import Final, Self

_PREFIX_BITS: Final = 30


class Namespace:
    """One namespace and the pair of devices that leads into it.

    Args:
        name: Of the namespace; its devices are named after it.
    """

    host: Final = "10.213.89.1"
    _inside: Final = "10.213.89.2"

    def __init__(self, name: str) -> None:
        self.name = name
        self.command = ("ip", "netns", "exec", name)

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
        made = cls(f"chaos{os.getpid()}")
        try:
            _ip(f"netns add {made.name}")
            _ip(f"link add {made._outer} type veth peer name eth0 netns {made.name}")
            _ip(f"addr add {cls.host}/{_PREFIX_BITS} dev {made._outer}")
            _ip(f"link set {made._outer} up")
            _ip(f"-n {made.name} addr add {cls._inside}/{_PREFIX_BITS} dev eth0")
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
