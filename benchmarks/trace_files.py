"""Where files are: here, or, if their licence does not allow it, in a folder of yours."""

from pathlib import Path
from typing import Final

from msgspec.structs import replace

from preble.errors import ConfigError
from preble.simulator.outcome import PoolSettings
from preble.simulator.source import Source

SHIPPED: Final = Path(__file__).parent / "data"


def find_trace(file: str, folder: Path | None) -> Path | None:
    """The trace of this name, one of ours before one in `folder`; None if it is in neither."""
    places = [SHIPPED] if folder is None else [SHIPPED, folder]
    return next((place / file for place in places if (place / file).is_file()), None)


def is_there(source: Source, folder: Path | None) -> bool:
    """Whether its requests can be had: a generator's always."""
    return source.trace is None or find_trace(source.trace, folder) is not None


def located(source: Source, folder: Path | None) -> Source:
    """The source with its trace's path instead of its name. Raises: ConfigError."""
    if source.trace is None:
        return source
    path = find_trace(source.trace, folder)
    if path is None:
        raise ConfigError(f"there is no {source.trace}: name its folder by --traces")
    return replace(source, trace=str(path))


def with_cost_model(pool: PoolSettings) -> PoolSettings:
    """The pool with the path of its engines' cost model, if that is a file of ours."""
    file = SHIPPED / pool.engine.cost_model
    if not file.is_file():
        return pool
    return replace(pool, engine=replace(pool.engine, cost_model=str(file)))
