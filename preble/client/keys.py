"""Names for submissions."""

import secrets
from uuid import UUID

from preble.clock import unix_s


def dated_key() -> str:
    """A key that nobody used before, and that says when it was made.

    So a job's id does, too, and the api can tell one that has expired from one that never was. A
    UUID of version 7. Source: RFC 9562, section 5.7.
    """
    milliseconds, chance = int(unix_s() * 1000), secrets.randbits(74)
    version, variant = 7, 2
    return str(UUID(int=milliseconds << 80 | version << 76 | (chance >> 62) << 64
                    | variant << 62 | chance & ((1 << 62) - 1)))  # fmt: skip
