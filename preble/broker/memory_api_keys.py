"""The API keys of a pool in memory: for tests, and for an api that is to have none."""

from collections.abc import Collection, Sequence

import msgspec

from preble.broker.api_keys import ApiKey, Scope, by_age, digest_of, id_of, new_key, require_room
from preble.clock import Clock, SystemClock


class MemoryApiKeys:
    """The keys of one pool. Implements `preble.broker.api_keys.ApiKeys`.

    Args:
        clock: Tells when keys are made and expire.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._keys: dict[str, ApiKey] = {}

    async def close(self) -> None:
        """Nothing to release."""

    async def create(
        self, name: str, *, tenant: str | None, scopes: Collection[Scope], life_s: float | None
    ) -> tuple[str, ApiKey]:
        """Make a key. Raises: ConfigError if there are too many."""
        require_room(len(self._keys))
        key, now_s = new_key(), self._clock.now_s()
        digest = digest_of(key.encode())
        self._keys[digest] = record = ApiKey(
            id=id_of(digest), name=name, tenant=tenant, scopes=frozenset(scopes), created_at=now_s,
            expires_at=None if life_s is None else now_s + life_s,
        )  # fmt: skip
        return key, record

    async def find(self, digest: str) -> ApiKey | None:
        """The valid key with this digest."""
        key = self._keys.get(digest)
        return key if key and key.is_valid(self._clock.now_s()) else None

    async def list_keys(self) -> Sequence[ApiKey]:
        """All keys, the oldest first."""
        return by_age(self._keys)

    async def revoke(self, key_id: str) -> ApiKey | None:
        """Let a key open nothing any more; once more does no harm."""
        for digest, key in self._keys.items():
            if key.id == key_id:
                revoked_at = key.revoked_at or self._clock.now_s()
                self._keys[digest] = msgspec.structs.replace(key, revoked_at=revoked_at)
                return self._keys[digest]
        return None

    async def are_there(self) -> bool:
        """Whether a key was ever made."""
        return bool(self._keys)
