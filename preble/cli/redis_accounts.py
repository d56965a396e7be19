"""`preble redis acl`: accounts of Redis for the processes of a pool."""

import os
from typing import Annotated

import typer

from preble.broker.acl import PASSWORD, ROLES, Role, account
from preble.cli import options
from preble.config import load_settings

app = typer.Typer(no_args_is_help=True, help="What a pool needs of its Redis.")


@app.callback()
def _redis() -> None:  # pyright: ignore[reportUnusedFunction]  # makes `acl` a command of its own
    pass


@app.command()
def acl(
    *,
    role: Annotated[
        Role | None, typer.Option(help="Whose: `api`, `scheduler` or `worker`; else all three.")
    ] = None,
    pool: options.Pool = None,
) -> None:
    """Print accounts with least rights, one for each role, as lines of an ACL file.

    Asks no Redis. Each line has a place for the hash of a password.
    """
    settings = load_settings(os.environ, pool=pool)
    for each in (role,) if role else ROLES:
        typer.echo(account(each, settings.pool))
    typer.echo(f"preble: put the SHA-256 of each password in place of {PASSWORD}", err=True)
