"""`preble plot`: pictures of what `preble simulate --json` wrote."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from preble.errors import ConfigError
from preble.simulator.charts import ChartName, draw
from preble.simulator.matrix import Report


def plot(
    result: Annotated[Path, typer.Argument(help="File that `preble simulate --json` wrote.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write: .png, .svg or .pdf.")
    ],
    figure: Annotated[ChartName, typer.Option(help="What to show.")] = "latency",
) -> None:
    """Draw a simulation's latency, hit rate or imbalance over the load, or its timeline."""
    draw(_read(result), figure, output)


def _read(file: Path) -> Report:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file} is no report of `preble simulate`: {error}") from None
