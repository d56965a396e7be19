"""Who has a key: the operator's, which the settings name, or one of those in Redis."""

import hmac
from typing import Final

from preble.broker.api_keys import KEY, digest_of
from preble_api.keyring import Keyring
from preble_api.principal import ANYONE, Principal, principal_of_key


class KeyHolders:
    """Finds whom a key stands for.

    Args:
        admin_key: The operator's; empty for none.
        keyring: Knows all others.
    """

    def __init__(self, admin_key: str, keyring: Keyring) -> None:
        self._admin_digest: Final = digest_of(admin_key.encode()) if admin_key else None
        self._keyring = keyring

    async def of_key(self, key: bytes) -> Principal | None:
        """Who shows this key; None if it is unknown. Raises: as `of_digest`."""
        digest = digest_of(key)
        # What does not look like a key is none, and nobody is asked.
        return (
            await self.of_digest(digest) if KEY.fullmatch(key) or self._is_admin(digest) else None
        )

    async def of_digest(self, digest: str) -> Principal | None:
        """Who has the key with this digest.

        Raises:
            HttpError: If too many unknown keys are being tried (429).
            BrokerUnavailable: If it is not known here and Redis cannot be asked.
        """
        if self._is_admin(digest):
            return ANYONE
        key = await self._keyring.of_digest(digest)
        return principal_of_key(key) if key else None

    def _is_admin(self, digest: str) -> bool:
        """Takes the same time wherever the digests differ."""
        return self._admin_digest is not None and hmac.compare_digest(digest, self._admin_digest)
