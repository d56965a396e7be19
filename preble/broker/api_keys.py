"""API keys: whose they are and what they allow. Where they are kept: `redis_api_keys.py`.

A key is shown once, when it is made. Kept is only its SHA-256: of 32 random bytes that needs no
salt and no slow hash, for nobody can try them all.
"""

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal, Protocol

import msgspec

from preble.errors import ConfigError

Scope = Literal["submit", "read", "admin"]
"""Make jobs, cancel them and let them run again; look at them; act for all tenants."""

KEY: Final = re.compile(rb"pk_[A-Za-z0-9_-]{43}")
"""How every key looks: what looks otherwise is none, and nobody needs to be asked."""

MOST_KEYS: Final = 10_000
"""Of one pool, revoked ones with them."""

_KEY_BYTES: Final = 32
_ID_DIGITS: Final = 12


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept; times are Unix seconds of the Redis clock."""

    id: str
    """By which it is revoked: of its hash, so that it tells nothing of the key."""
    name: str
    tenant: str | None
    """Whom it acts for; None for every tenant."""
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    """None for never."""
    revoked_at: float | None = None

    def is_valid(self, now_s: float) -> bool:
        """Whether it opens anything.

        Args:
            now_s: Unix seconds of the Redis clock.
        """
        has_expired = self.expires_at is not None and self.expires_at <= now_s
        return self.revoked_at is None and not has_expired


class ApiKeys(Protocol):
    """The keys of one pool. Every call may raise BrokerUnavailable, and says so here once."""

    async def create(
        self, name: str, *, tenant: str | None, scopes: Collection[Scope], life_s: float | None
    ) -> tuple[str, ApiKey]:
        """Make a key.

        Args:
            name: For people.
            tenant: Whom it acts for; None for every tenant.
            scopes: What it allows.
            life_s: After which it opens nothing; None for never.

        Returns:
            The key itself, which is told here and never again, and what is kept of it.

        Raises:
            ConfigError: If there are too many already.
        """
        ...

    async def find(self, digest: str) -> ApiKey | None:
        """The valid key with this digest."""
        ...

    async def list_keys(self) -> Sequence[ApiKey]:
        """All keys, the oldest first, revoked and expired ones with them."""
        ...

    async def revoke(self, key_id: str) -> ApiKey | None:
        """Let a key open nothing any more; None if there is none of this id."""
        ...

    async def are_there(self) -> bool:
        """Whether a key was ever made: a pool that had keys is never open again."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


def new_key() -> str:
    """A key that nobody can guess."""
    return f"pk_{secrets.token_urlsafe(_KEY_BYTES)}"


def digest_of(key: bytes) -> str:
    """Under which a key is kept."""
    return sha256(key).hexdigest()


def id_of(digest: str) -> str:
    """Of the key with this digest."""
    return f"key_{digest[:_ID_DIGITS]}"


def require_room(num_keys: int) -> None:
    """Refuse a key too many. Raises: ConfigError."""
    if num_keys >= MOST_KEYS:
        msg = f"the pool has {num_keys} api keys, the most it may have: use one of these"
        raise ConfigError(msg)


def by_age(keys: Mapping[str, ApiKey]) -> Sequence[ApiKey]:
    """Keys by digest as a list, the oldest first."""
    return sorted(keys.values(), key=lambda key: (key.created_at, key.id))
