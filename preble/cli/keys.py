"""`preble keys`: who may use the api. It works on Redis itself: nobody needs a key to begin."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
import typer

from preble.broker.api_keys import ApiKey, Scope
from preble.broker.redis_api_keys import RedisApiKeys
from preble.cli import options
from preble.config import load_settings
from preble.errors import ConfigError
from preble.messages import DEFAULT_TENANT

app = typer.Typer(
    no_args_is_help=True,
    help="Make the keys that clients send, list them, revoke them.",
    epilog="They are kept in the Redis that --redis-url or PREBLE_REDIS_URL names, for --pool.",
)

_T = TypeVar("_T")
_DAY_S: Final = 86_400.0
_COLUMNS: Final = "{:<16}  {:<20}  {:<12}  {:<17}  {:<20}  {:<20}  {}"
_HEAD: Final = ("ID", "NAME", "TENANT", "SCOPES", "CREATED", "EXPIRES", "STATE")
_ALL: Final = "*"


class _Asked(msgspec.Struct):
    """What the command line says of a new key, to be checked."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}$(?!\n)")]
    scopes: Annotated[frozenset[Scope], msgspec.Meta(min_length=1)]
    tenant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")] | None
    expires_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] | None


@app.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="For people: whose it is, or what for.")],
    tenant: Annotated[
        str | None,
        typer.Option(help=f"Whom it acts for; `{DEFAULT_TENANT}` if nothing is said."),
    ] = None,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="It acts for every tenant.")
    ] = False,
    scope: Annotated[
        str, typer.Option(help="What it allows: `submit`, `read`, `admin`, joined by commas.")
    ] = "submit,read",
    expires_days: Annotated[
        float | None, typer.Option(help="Days after which it opens nothing.")
    ] = None,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
) -> None:
    """Make a key and print it: this once, for only its hash is kept."""
    asked = _checked(name, scope, tenant, expires_days)
    is_admin = "admin" in asked.scopes
    if tenant is not None and (all_tenants or is_admin):
        raise typer.BadParameter("--tenant and a key for all tenants exclude each other")
    acts_for = None if all_tenants or is_admin else tenant or DEFAULT_TENANT
    life_s = None if expires_days is None else expires_days * _DAY_S
    key, record = _with_keys(
        redis_url, pool,
        lambda keys: keys.create(name, tenant=acts_for, scopes=asked.scopes, life_s=life_s),
    )  # fmt: skip
    typer.echo(key)
    typer.echo(f"preble: made {record.id} for {_tenant(record)}; it is not shown again", err=True)


@app.command("ls")
def list_keys(
    *,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
    output: options.Output = "text",
) -> None:
    """Print what is kept of all keys, the oldest first."""
    found = _with_keys(redis_url, pool, lambda keys: keys.list_keys())
    if output == "text":
        typer.echo(_COLUMNS.format(*_HEAD))
    for key in found:
        typer.echo(_row(key) if output == "text" else msgspec.json.encode(key))


@app.command()
def revoke(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `preble keys ls` shows it.")],
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
) -> None:
    """Let a key open nothing any more, within five seconds."""
    if _with_keys(redis_url, pool, lambda keys: keys.revoke(key_id)) is None:
        msg = f"no key of pool has the id {key_id}: see `preble keys ls`"
        raise ConfigError(msg)
    typer.echo(f"{key_id} revoked")


def _checked(name: str, scope: str, tenant: str | None, expires_days: float | None) -> _Asked:
    """Raises: BadParameter, naming the flag."""
    given = {
        "name": name, "scopes": [each.strip() for each in scope.split(",") if each.strip()],
        "tenant": tenant, "expires_days": expires_days,
    }  # fmt: skip
    try:
        return msgspec.convert(given, _Asked)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        flag = where.strip("`").partition("[")[0].replace("_", "-").replace("scopes", "scope")
        raise typer.BadParameter(f"--{flag}: {what[:1].lower()}{what[1:]}") from None


def _with_keys(
    redis_url: str | None, pool: str | None, call: Callable[[RedisApiKeys], Awaitable[_T]]
) -> _T:
    """What one call says. Raises: ConfigError, BrokerUnavailable."""
    settings = load_settings(os.environ, redis_url=redis_url, pool=pool)

    async def ask() -> _T:
        keys = RedisApiKeys.from_settings(settings)
        try:
            return await call(keys)
        finally:
            await keys.close()

    return asyncio.run(ask())


def _row(key: ApiKey) -> str:
    state = "revoked" if key.revoked_at is not None else ""
    scopes = ",".join(sorted(key.scopes))
    expires = "never" if key.expires_at is None else _time(key.expires_at)
    row = _COLUMNS.format(
        key.id, key.name, key.tenant or _ALL, scopes, _time(key.created_at), expires, state
    )
    return row.rstrip()


def _tenant(key: ApiKey) -> str:
    return "all tenants" if key.tenant is None else f"tenant {key.tenant}"


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
