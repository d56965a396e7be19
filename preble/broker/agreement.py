"""What processes of one pool must agree on before they may touch a job."""

from typing import Final, Protocol

from preble.errors import PoolMismatch
from preble.messages import PoolRecord

SCHEMA: Final = 1
"""Of the keys in Redis and of what processes write for each other; raised when those of another
number would misread it. ADR 0040; `python -m tools.schema` compares the code with what it was."""

FIRST_SCHEMA: Final = 1
"""Of pools that were founded before they had a number."""

_PAGE: Final = "docs/explanation/compatibility.md"


class Agreement(Protocol):
    """The foundation of one pool. Every call may raise BrokerUnavailable, and says so here once."""

    async def agree_on_schema(self) -> None:
        """Let the pool have this Preble's schema; its first process sets it. `join_pool` asks, too.

        Raises:
            PoolMismatch: If it has another one, with what to do.
        """
        ...

    async def join_pool(self, record: PoolRecord) -> None:
        """Found the pool with this record, or agree with it.

        Raises:
            PoolMismatch: If the pool was founded with another record, naming the difference, or
                has another schema.
        """
        ...

    async def agree_on_weights(self, fingerprint: str) -> None:
        """Say which weights a worker's engine serves; those of its first worker are the pool's.

        Raises:
            PoolMismatch: If they are others.
        """
        ...


def require_same_schema(pool: str, founded: int) -> None:
    """Compare the schema of this Preble with the one the pool was founded with.

    Raises:
        PoolMismatch: If they differ, with what to do.
    """
    if founded == SCHEMA:
        return
    remedy = (
        f"upgrade this process to the version that runs the pool ({_PAGE})"
        if founded > SCHEMA
        else "let the version that founded it finish its jobs, and start this one on a new pool "
        f"(--pool, PREBLE_POOL; {_PAGE})"
    )
    msg = f"pool {pool!r} has schema {founded}, and this Preble speaks schema {SCHEMA}: {remedy}"
    raise PoolMismatch(msg)


def require_same_pool(pool: str, founded: PoolRecord, record: PoolRecord) -> None:
    """Compare this process's record with the one the pool was founded with.

    Raises:
        PoolMismatch: If they differ, naming every field and both values.
    """
    differences = [
        f"{name} is {getattr(record, name)!r} here and {getattr(founded, name)!r} in the pool"
        for name in PoolRecord.__struct_fields__
        if getattr(record, name) != getattr(founded, name)
    ]
    if differences:
        msg = (
            f"pool {pool!r} disagrees with this process: {'; '.join(differences)}. "
            "Use the same settings everywhere, or another pool (--pool, PREBLE_POOL)"
        )
        raise PoolMismatch(msg)


def require_same_weights(pool: str, founded: str, fingerprint: str) -> None:
    """Compare the weights of a worker's engine with those the pool's first worker serves.

    Raises:
        PoolMismatch: If they differ.
    """
    if founded != fingerprint:
        msg = (
            f"pool {pool!r} disagrees with this worker: its weights are {founded[:12]}, here "
            f"they are {fingerprint[:12]}. Serve the same model files, or use another pool "
            "(--pool, PREBLE_POOL)"
        )
        raise PoolMismatch(msg)
