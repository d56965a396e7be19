"""`preble config`: every setting, its value, and where that came from; and files, checked."""

import os
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import typer

from preble.cli import completion, options
from preble.cli.setting_texts import setting_help, shown
from preble.config import (
    ENV_PREFIX,
    Configuration,
    Settings,
    load_configuration,
    unknown_setting,
)
from preble.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    help="Show the settings and where each came from; check a file of them.",
    epilog="A flag counts more than PREBLE_<NAME>, that more than the TOML file, that more than "
    "the default.",
)


class Setting(msgspec.Struct, frozen=True):
    """One setting; `origin` is a flag, a variable, a file or `default`."""

    name: str
    value: str
    origin: str
    help: str


class Shown(msgspec.Struct, frozen=True):
    """What is printed for programs."""

    file: str | None
    """The TOML file that was read."""
    settings: list[Setting]


@app.command("show")
def show(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Only these settings.", autocompletion=completion.settings
        ),
    ] = None,
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
    config: options.ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Print settings with their values, where these came from, and what they mean.

    Passwords and keys are not shown.
    """
    flags = {name: value for name, value in locals().items() if name not in {"names", "as_json"}}
    loaded = load_configuration(os.environ, **flags)
    rows = [row for row in explain(loaded) if not names or row.name in _checked(names)]
    if as_json:
        file = str(loaded.file) if loaded.file else None
        typer.echo(msgspec.json.encode(Shown(file, rows)))
    else:
        _print(loaded, rows)


@app.command("check")
def check(file: Annotated[str, typer.Argument(metavar="FILE", help="Of TOML.")]) -> None:
    """Say whether a file is one of settings: every name known, every value in its range.

    The environment does not count. Exit status 2 if not.
    """
    environ = {name: each for name, each in os.environ.items() if not name.startswith(ENV_PREFIX)}
    number = len(load_configuration(environ, config=file).origins)
    typer.echo(f"{file}: {number} setting{'' if number == 1 else 's'}, all known and in range")


def explain(loaded: Configuration) -> Iterator[Setting]:
    """All settings with origin and meaning; secrets are starred out."""
    texts = setting_help()
    for name, value in msgspec.to_builtins(loaded.settings).items():
        yield Setting(name, shown(name, value), _origin(name, loaded), texts.get(name, ""))


def _origin(name: str, loaded: Configuration) -> str:
    if name in loaded.origins:
        return loaded.origins[name]
    return f"default with engine {loaded.settings.engine}" if name in loaded.presets else "default"


def _checked(names: Sequence[str]) -> Sequence[str]:
    """Raises: ConfigError, for a name that is no setting's."""
    known = Settings.__struct_fields__
    for name in names:
        if name not in known:
            raise ConfigError(unknown_setting(name, known))
    return names


def _print(loaded: Configuration, rows: Sequence[Setting]) -> None:
    typer.echo(f"TOML: {loaded.file or 'none'}", err=True)
    name_width = max(len(row.name) for row in rows)
    value_width = min(40, max(len(row.value) for row in rows))
    for row in rows:
        value = row.value or '""'
        typer.echo(f"{row.name:<{name_width}}  {value:<{value_width}}  {row.origin}")
        typer.echo(f"    {row.help}")
