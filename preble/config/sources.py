"""Where settings are given: a TOML file, the environment, files that hold secrets. ADR 0032.

    flags  >  PREBLE_<NAME>  >  preble.toml  >  defaults

Here each source becomes names, values and where they came from; `settings` knows what the names
mean. What a source says of an unknown name is refused, with the nearest known one. Of the
environment only what is like a known name: it may hold variables of other programs.
"""

import difflib
import logging
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from preble.errors import ConfigError

ENV_PREFIX: Final = "PREBLE_"
CONFIG_VARIABLE: Final = "PREBLE_CONFIG"
DEFAULT_FILE: Final = "preble.toml"
"""Read if it lies in the working directory, and no other is named."""

SECRETS: Final = ("api_key", "redis_url", "webhook_secret")
"""Settings that may stand in a file of their own, which `<name>_file` names."""

RENAMED: Final[dict[str, str]] = {}
"""Old names of settings, and the new ones. An old one is read by the minor version that renames it,
and unknown to the next. ADR 0040."""

_FILE: Final = "_file"
_MOST_SECRET_CHARS: Final = 64 * 1024
_LIKE: Final = 0.75
"""As much as two names must have in common for one to be a misspelling of the other."""

_SERVICE_LINK: Final = re.compile(r"(^|_)(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))(_|$)")
"""What Kubernetes tells each container of a service called `preble`, or `preble-…`."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Given(msgspec.Struct, frozen=True):
    """One value, and who gave it: a flag, a variable, or a file."""

    value: object
    origin: str


def config_file(environ: Mapping[str, str], named: str | None) -> Path | None:
    """The file to read.

    Args:
        environ: `PREBLE_CONFIG` names one; empty: none.
        named: By the flag, which counts more.

    Returns:
        It, or `preble.toml` of the working directory; None if there is none.
    """
    given = environ.get(CONFIG_VARIABLE) if named is None else named
    if given is not None:
        return Path(given) if given else None
    default = Path(DEFAULT_FILE)
    return default.resolve() if default.is_file() else None


def from_file(path: Path, types: Mapping[str, Any]) -> dict[str, Given]:
    """The settings of a TOML file.

    Args:
        path: Of the file.
        types: Of all settings, by name.

    Raises:
        ConfigError: If it cannot be read, a name is unknown, or a value is of another type, naming
            the file and the key.
    """
    found: dict[str, Given] = {}
    for name, value in _by_new_names(_read(path), str(path)).items():
        if isinstance(value, dict):
            msg = f"{path}: [{name}] is a table; settings stand alone, without tables"
            raise ConfigError(msg)
        if name not in types and not _is_secret_file(name):
            raise ConfigError(f"{path}: {unknown_setting(name, types)}")
        try:
            msgspec.convert(value, types.get(name, str), strict=True)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{path}: {name}: {_lower(str(error))}") from None
        found[name] = Given(value, str(path))
    return _with_secrets(found)


def from_environ(environ: Mapping[str, str], names: Collection[str]) -> dict[str, Given]:
    """The settings of the environment.

    Args:
        environ: Names without the prefix are ignored.
        names: Of all settings.

    Raises:
        ConfigError: If a name is like a known one, but unknown; what is like none is logged.
    """
    found: dict[str, Given] = {}
    for name, value in _by_new_names(_ours(environ), "the environment").items():
        variable = ENV_PREFIX + name.upper()
        if name in names or _is_secret_file(name):
            found[name] = Given(value, variable)
        elif nearest(name, names):
            raise ConfigError(unknown_setting(name, names, prefix=ENV_PREFIX))
        else:
            _log.warning(
                "preble: %s is no setting, and ignored; see `preble config show`", variable
            )
    return _with_secrets(found)


def unknown_setting(name: str, names: Collection[str], *, prefix: str = "") -> str:
    """What is said of a name that is no setting's."""

    def written(each: str) -> str:
        return prefix + each.upper() if prefix else each

    similar = nearest(name, names)
    hint = f"did you mean {written(similar)}?" if similar else "`preble config show` shows them"
    return f"unknown setting {written(name)}: {hint}"


def nearest(name: str, names: Collection[str]) -> str | None:
    """The name that was probably meant."""
    candidates = [*names, *(secret + _FILE for secret in SECRETS), "config"]
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=_LIKE)), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}; --config or {CONFIG_VARIABLE} names the file"
        raise ConfigError(msg) from None
    except ValueError as error:
        msg = f"{path} is no TOML: {_lower(str(error))}"
        raise ConfigError(msg) from None


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the environment may be settings, by name."""
    return {
        variable.removeprefix(ENV_PREFIX).lower(): value
        for variable, value in environ.items()
        if variable.startswith(ENV_PREFIX)
        and variable != CONFIG_VARIABLE
        and not _is_service_link(variable, value)
    }


def _by_new_names(given: Mapping[str, _T], where: str) -> dict[str, _T]:
    """The same, with settings under the names that they have now. Raises: ConfigError."""
    found = {name: value for name, value in given.items() if name not in RENAMED}
    for old in given.keys() & RENAMED:
        new = RENAMED[old]
        # Compose gives one that is not set as an empty one.
        if given[old] == "" and new in found:
            continue
        if found.get(new, "") != "":
            raise ConfigError(f"{where}: {old} is called {new} now, and both are given: drop {old}")
        _log.warning("preble: %s: setting %s is called %s now, and soon only that", where, old, new)
        found[new] = given[old]
    return found


def _is_secret_file(name: str) -> bool:
    return name.endswith(_FILE) and name.removesuffix(_FILE) in SECRETS


def _is_service_link(variable: str, value: str) -> bool:
    if variable.endswith("PORT") and value.startswith(("tcp://", "udp://")):
        return True
    return bool(_SERVICE_LINK.search(variable.removeprefix(ENV_PREFIX)))


def _with_secrets(found: Mapping[str, Given]) -> dict[str, Given]:
    """The same, with what secrets' files hold in the place of their paths. Raises: ConfigError."""
    settings = {name: given for name, given in found.items() if not _is_secret_file(name)}
    for secret in SECRETS:
        file = found.get(secret + _FILE)
        if file is None or file.value == "":
            continue
        if secret in settings and settings[secret].value != "":
            msg = f"{secret} and {secret}{_FILE} are both given ({file.origin}): leave one out"
            raise ConfigError(msg)
        text = _read_secret(secret, Path(str(file.value)))
        settings[secret] = Given(text, f"{file.origin}: {file.value}")
    return settings


def _read_secret(secret: str, path: Path) -> str:
    """Never empty: that would open what is to be closed. Raises: ConfigError."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_SECRET_CHARS + 1).strip()
    except OSError as error:
        msg = f"setting {secret}: cannot read {path}: {error.strerror}"
        raise ConfigError(msg) from None
    except ValueError:
        msg = f"setting {secret}: {path} is no text"
        raise ConfigError(msg) from None
    if not text or len(text) > _MOST_SECRET_CHARS:
        msg = f"setting {secret}: {path} is {'too long' if text else 'empty'}"
        raise ConfigError(msg)
    return text


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
