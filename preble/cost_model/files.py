"""Cost models as files: those that ship with Preble, by name, and any other, by path."""

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import msgspec

from preble.cost_model.coefficients import Coefficients
from preble.cost_model.model import CostModel
from preble.errors import ConfigError

_SUFFIX: Final = ".json"


def known_cost_models() -> list[str]:
    """The names of the cost models that ship with Preble, sorted."""
    return sorted(file.name.removesuffix(_SUFFIX) for file in _shipped().iterdir())


@cache
def load_cost_model(name: str) -> CostModel:
    """A cost model by its name, or by the path of its file; once, then from memory.

    Args:
        name: One of `known_cost_models`, or a path that ends in `.json`. Scheduler and worker
            each read it, so a path must lead both to the same file.

    Raises:
        ConfigError: If there is no such file, or what it holds is no sound cost model.
    """
    return CostModel(load_coefficients(name))


def load_coefficients(name: str) -> Coefficients:
    """The numbers of a cost model. As `load_cost_model`, and with its errors."""
    if name.endswith(_SUFFIX):
        return parse_coefficients(_read(Path(name)), origin=name)
    if name not in known_cost_models():
        msg = f"no cost model {name!r}; there are: {', '.join(known_cost_models())}"
        raise ConfigError(f"{msg}, or the path of a {_SUFFIX} file")
    return parse_coefficients((_shipped() / f"{name}{_SUFFIX}").read_bytes(), origin=name)


def parse_coefficients(text: bytes, *, origin: str) -> Coefficients:
    """The numbers in the text of a file.

    Raises:
        ConfigError: If they are none, or not sound, naming `origin` and the place.
    """
    try:
        return msgspec.json.decode(text, type=Coefficients)
    except msgspec.DecodeError as error:
        msg = f"cost model {origin}: {error}"
        raise ConfigError(msg) from None


def format_coefficients(coefficients: Coefficients) -> bytes:
    """The text of a cost model's file."""
    return msgspec.json.format(msgspec.json.encode(coefficients)) + b"\n"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"cost model {file}: {error.strerror}"
        raise ConfigError(msg) from None


def _shipped() -> Traversable:
    return resources.files("preble") / "data" / "cost_models"
