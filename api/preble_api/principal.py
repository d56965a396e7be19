"""On whose behalf a request is made, and what that allows.

`gate.py` finds out and writes it into the request's scope; every route asks here. A tenant's
principal sees and touches what is its own; to it all else does not exist.
"""

from hashlib import sha256
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.types import Scope as Connection

from preble.broker.api_keys import ApiKey, Scope
from preble.errors import InvariantError
from preble.messages import DEFAULT_TENANT
from preble_api.errors import HttpError

_PRINCIPAL: Final = "preble.principal"
_SALT_DIGITS: Final = 32


class Principal(msgspec.Struct, frozen=True):
    """Who asks.

    Args:
        tenant: Whom it acts for; None for any tenant, as in open mode.
        scopes: What it may do; `admin` holds the others.
    """

    tenant: str | None
    scopes: frozenset[Scope]

    def tenant_for(self, asked: str | None, *, field: str = "tenant") -> str:
        """The tenant of a new job, file or batch.

        Args:
            asked: The one that the request names, if any.
            field: Where it names it.

        Raises:
            HttpError: If that is another's (403).
        """
        if asked is None:
            return self.tenant or DEFAULT_TENANT
        if not self.may_see(asked):
            message = f"{field}: this api key acts for tenant {self.tenant} alone"
            raise HttpError(HTTPStatus.FORBIDDEN, "wrong_tenant", message, param=field)
        return asked

    def may_see(self, tenant: str) -> bool:
        """Whether what is this tenant's exists for it; if not, it is answered as if unknown."""
        return self.tenant is None or self.tenant == tenant

    def may(self, scope: Scope) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: Scope) -> None:
        """Refuse what it may not do. Raises: HttpError (403)."""
        if not self.may(scope):
            message = f"this api key lacks the scope `{scope}`"
            raise HttpError(HTTPStatus.FORBIDDEN, "missing_scope", message)

    def require_all_tenants(self) -> None:
        """Refuse what concerns the whole pool. Raises: HttpError (403) if bound to a tenant."""
        if self.tenant is not None:
            message = f"this is of the whole pool; this api key acts for tenant {self.tenant} alone"
            raise HttpError(HTTPStatus.FORBIDDEN, "wrong_tenant", message)

    def cache_salt(self, asked: str | None) -> str:
        """Under which prompts share KV cache: never with another tenant's.

        Args:
            asked: The request's own, which separates further.
        """
        if self.tenant is None:
            return asked or ""
        # Neither part can hold the byte between them.
        return sha256(f"{self.tenant}\0{asked or ''}".encode()).hexdigest()[:_SALT_DIGITS]


ANYONE: Final = Principal(None, frozenset({"submit", "read", "admin"}))
"""The operator: who has the admin key, or reaches an api that is open."""


def principal_of_key(key: ApiKey) -> Principal:
    """Who has a key."""
    return Principal(key.tenant, key.scopes)


def set_principal(connection: Connection, principal: Principal) -> None:
    """Say who makes a request. Changes: its scope."""
    connection[_PRINCIPAL] = principal


def principal_of(connection: Connection) -> Principal:
    """Who makes a request, of its scope.

    Raises:
        InvariantError: If nobody found out, so that what is not guarded is not open.
    """
    found = connection.get(_PRINCIPAL)
    if not isinstance(found, Principal):
        msg = "a request reached a route without passing the gate"
        raise InvariantError(msg)
    return found
