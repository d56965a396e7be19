"""`preble settings`: every setting, its value, and where that came from."""

import os
from collections.abc import Mapping

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from preble.cli import options
from preble.config import ENV_PREFIX, Settings, load_settings
from preble.serve.network import without_password


class Setting(msgspec.Struct, frozen=True):
    """One row: `origin` is `flag`, `env` or `default`."""

    name: str
    value: str
    origin: str


def settings(
    *,
    host: options.Host = None,
    port: options.Port = None,
    engine: options.Engine = None,
    engine_url: options.EngineUrls = None,
    workers: options.Workers = None,
    redis_url: options.RedisUrl = None,
    policy: options.Policy = None,
    binding: options.Binding = None,
    pool: options.Pool = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
    data_dir: options.DataDir = None,
    log_level: options.LogLevel = None,
    instance: options.Instance = None,
    url: options.Url = None,
    output: options.Output = "text",
) -> None:
    """Print every setting, its value, and whether a flag, the environment or nobody set it."""
    flags = {name: value for name, value in locals().items() if name != "output"}
    rows = explain(load_settings(os.environ, **flags), os.environ, flags)
    if output == "json":
        for row in rows:
            typer.echo(msgspec.json.encode(row))
        return
    table = Table("variable", "value", "from")
    for row in rows:
        table.add_row(f"{ENV_PREFIX}{row.name.upper()}", row.value, row.origin)
    Console().print(table, markup=False)


def explain(
    loaded: Settings, environ: Mapping[str, str], flags: Mapping[str, object]
) -> list[Setting]:
    """All settings with their origin; secrets are starred out."""
    return [
        Setting(name, _shown(name, str(value)), _origin(name, environ, flags))
        for name, value in msgspec.to_builtins(loaded).items()
    ]


def _shown(name: str, value: str) -> str:
    if name in {"api_key", "webhook_secret"}:
        return "***" if value else ""
    return without_password(value)


def _origin(name: str, environ: Mapping[str, str], flags: Mapping[str, object]) -> str:
    if flags.get(name) is not None:
        return "flag"
    return "env" if f"{ENV_PREFIX}{name.upper()}" in environ else "default"
