"""Settings from all their sources, with where each came from; and back, for the next process.

`preble serve` hands its settings to its children through the environment, so there is one
mechanism and one table.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

import msgspec

from preble.config.presets import engine_preset, files_preset
from preble.config.settings import Settings
from preble.config.sources import (
    CONFIG_VARIABLE,
    ENV_PREFIX,
    Given,
    config_file,
    from_environ,
    from_file,
)
from preble.errors import ConfigError


class Configuration(msgspec.Struct, frozen=True):
    """Settings, and where they came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Of those that were given: a flag, a variable, or a file."""
    presets: frozenset[str]
    """Of the others, those whose default follows from the engine."""
    file: Path | None
    """The TOML file that was read."""


def load_settings(environ: Mapping[str, str], **overrides: object) -> Settings:
    """As `load_configuration`, without the origins."""
    return load_configuration(environ, **overrides).settings


def load_configuration(environ: Mapping[str, str], **overrides: object) -> Configuration:
    """Settings from a TOML file, the environment, and what the command line gave.

    Args:
        environ: Usually `os.environ`; names without the prefix are ignored.
        overrides: Fields by name, and `config`, the path of the file; None means not given.

    Raises:
        ConfigError: If a value is out of range or a name is unknown, naming it and where it stands.
    """
    config = overrides.pop("config", None)
    file, given = _given(environ, None if config is None else str(config))
    given |= {
        name: Given(value, f"--{name.replace('_', '-')}")
        for name, value in overrides.items()
        if value is not None
    }
    values = {name: each.value for name, each in given.items()}
    by_engine = engine_preset(values, environ, default=Settings().engine)
    presets = by_engine | files_preset(values, environ)
    # An empty text asks for the preset, not for nothing.
    given = {name: each for name, each in given.items() if each.value != "" or name not in presets}
    settings = _validated(presets, given)
    origins = {name: each.origin for name, each in given.items()}
    return Configuration(settings, origins, frozenset(by_engine.keys() - given.keys()), file)


def flat_environ(environ: Mapping[str, str], *, config: str | None = None) -> dict[str, str]:
    """The environment with what the TOML file says in it, where it says nothing itself.

    Raises:
        ConfigError: As `load_configuration`.
    """
    _, given = _given(environ, config)
    said = {ENV_PREFIX + name.upper(): str(each.value) for name, each in given.items()}
    foreign = {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)}
    return {**foreign, **said, CONFIG_VARIABLE: ""}


def _given(environ: Mapping[str, str], config: str | None) -> tuple[Path | None, dict[str, Given]]:
    file = config_file(environ, config)
    types = get_type_hints(Settings, include_extras=True)
    in_file = from_file(file, types) if file else {}
    said = from_environ(environ, types)
    # Compose gives one that is not set as an empty one: it must not open what the file closes.
    said = {name: each for name, each in said.items() if each.value != "" or name not in in_file}
    return file, in_file | said


def _validated(presets: Mapping[str, object], given: Mapping[str, Given]) -> Settings:
    values = {**presets, **{name: each.value for name, each in given.items()}}
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), given)) from None


def _explain(error: str, given: Mapping[str, Given]) -> str:
    """`Expected int >= 1 - at $.slots` becomes `setting slots: expected int >= 1 (--slots)`."""
    what, _, where = error.partition(" - at `$")
    name = where.strip("`.")
    origin = f" ({given[name].origin})" if name in given else ""
    return f"setting {name}: {what[:1].lower()}{what[1:]}{origin}" if name else what


def to_environ(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, so that `load_settings` gives them back.

    They are complete: no file is read beside them.
    """
    fields = msgspec.to_builtins(settings)
    said = {ENV_PREFIX + name.upper(): str(value) for name, value in fields.items()}
    return {**said, CONFIG_VARIABLE: ""}
