"""Secrets and signatures of webhooks, as Standard Webhooks has them.

Receivers verify them with its libraries, or with `client.webhooks.unwrap` of OpenAI's.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from preble.errors import ConfigError

_PREFIX: Final = "whsec_"
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64


def signing_keys(setting: str) -> Sequence[bytes]:
    """The keys of the setting `webhook_secret`; none if it is empty.

    Raises:
        ConfigError: If one is no secret. It is not repeated.
    """
    return tuple(_key(secret) for secret in setting.split())


def signed(keys: Sequence[bytes], event_id: str, unix_s: int, body: bytes) -> Mapping[str, str]:
    """Headers that prove who sent a body: a signature by each key."""
    content = f"{event_id}.{unix_s}.".encode() + body
    macs = (hmac.digest(key, content, "sha256") for key in keys)
    signatures = (f"v1,{base64.b64encode(mac).decode()}" for mac in macs)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(unix_s),
        "webhook-signature": " ".join(signatures),
    }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
        msg = (
            f"setting webhook_secret: each must be {_PREFIX} and {_FEWEST_BYTES} to {_MOST_BYTES} "
            f"random bytes in base64, such as `echo {_PREFIX}$(openssl rand -base64 32)` makes"
        )
        raise ConfigError(msg)
    return key
