"""`preble fit-cost`: a cost model from timed steps, from a run of an engine, or from sizes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from preble.bench import steps as steps_bench
from preble.cli import options
from preble.config import Settings, load_settings
from preble.cost_model.coefficients import Coefficients
from preble.cost_model.estimate import Hardware, estimate
from preble.cost_model.files import format_coefficients
from preble.cost_model.fit import Fit, fit, predicted_s
from preble.cost_model.gpus import KNOWN_GPUS
from preble.cost_model.model import CostModel
from preble.cost_model.model_config import parse_model_config
from preble.cost_model.samples import StepSample, format_samples, parse_samples
from preble.engine_env import find_engine_python
from preble.engine_env.info import read_facts
from preble.errors import ConfigError


def fit_cost(
    samples: Annotated[
        Path | None, typer.Argument(help="Timed steps, one JSON object a line; see the docs.")
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Cost model file to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the cost model; else that of the file.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run the engine, on a private stack, and time it.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="A model's config.json, to estimate from sizes alone.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help=f"GPU to estimate for: {', '.join(KNOWN_GPUS)}.")
    ] = None,
    tp: Annotated[int, typer.Option(min=1, help="GPUs that share the model, to estimate.")] = 1,
    engine: options.Engine = None,
    engine_url: options.EngineUrl = None,
    model_path: options.ModelPath = None,
    device: options.Device = None,
    tp_size: options.TpSize = None,
    engine_args: options.EngineArgs = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
) -> None:
    """Make a cost model: fit SAMPLES, or `--measure` an engine, or estimate by `--config`.

    What is measured is also kept as samples, in OUTPUT with the ending `.samples.jsonl`.
    """
    _check_one_of(samples=samples, measure=measure, config=config)
    name = name or output.stem
    if config is not None:
        _write(output, _estimated(config, gpu, tp, name))
        return
    if samples is not None:
        timed = parse_samples(_read(samples), origin=str(samples))
        source = f"{len(timed)} samples of {samples.name}"
    else:
        flags = {
            "engine": engine, "engine_url": engine_url, "model_path": model_path,
            "device": device, "tp_size": tp_size, "engine_args": engine_args, "model": model,
            "tokenizer": tokenizer, "context_length": context_length, "workers": 1,
        }  # fmt: skip
        settings = load_settings(os.environ, **flags)
        timed = _keep(steps_bench.run(settings, _say), output.with_suffix(".samples.jsonl"))
        source = f"{len(timed)} steps of {_place(settings, os.environ)}"
    fitted = fit(timed, name=name)
    coefficients = msgspec.structs.replace(fitted.coefficients, source=_source(source, fitted))
    _show(coefficients, timed)
    _write(output, coefficients)


def _check_one_of(**inputs: object) -> None:
    given = [name for name, value in inputs.items() if value]
    if len(given) != 1:
        raise ConfigError("give SAMPLES, or --measure, or --config: one of the three")


def _estimated(config: Path, gpu: str | None, tp: int, name: str) -> Coefficients:
    """Raises: ConfigError if the GPU is not known, or the config is of no use."""
    known = KNOWN_GPUS.get(gpu or "")
    if known is None:
        msg = f"--gpu {gpu or 'is missing'}: one of {', '.join(KNOWN_GPUS)}"
        raise ConfigError(msg)
    return estimate(
        parse_model_config(_read(config), origin=str(config)), Hardware(known, tp), name=name
    )


def _place(settings: Settings, environ: Mapping[str, str]) -> str:
    """Which engine runs which model on what."""
    if settings.engine == "emulated":
        return f"the emulated engine with cost model {settings.cost_model}"
    if settings.engine == "http":
        return f"a running SGLang server with model {settings.model}, on hardware it does not tell"
    facts = read_facts(environ)
    kind, _ = find_engine_python(settings.device, environ)
    versions = next(engine.versions for engine in facts.engines if engine.kind == kind)
    stated = ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))
    if kind == "gpu":
        hardware = f"{settings.tp_size} x {facts.gpus[0]}"
    else:
        threads = environ.get("OMP_NUM_THREADS", str(facts.cpus))
        hardware = f"{threads} of {facts.cpus} cores of an {facts.cpu}"
    return f"{settings.model} under SGLang ({stated}) on {hardware}"


def _source(of_what: str, fitted: Fit) -> str:
    return (
        f"Fitted by `preble fit-cost` to {of_what}, {datetime.now(UTC):%Y-%m-%d}. Relative error "
        f"at points held out: median {fitted.median_error:.1%}, p90 {fitted.p90_error:.1%}."
    )


def _show(coefficients: Coefficients, samples: Sequence[StepSample]) -> None:
    """Measured beside predicted, the mean of each step."""
    model = CostModel(coefficients)
    by_point: dict[tuple[int, int, int], list[StepSample]] = {}
    for sample in samples:
        by_point.setdefault(sample.point, []).append(sample)
    table = Table("new", "context", "requests", "measured ms", "predicted ms", "error")
    for column in table.columns:
        column.justify = "right"
    for point, alike in sorted(by_point.items(), key=lambda item: item[0][::-1]):
        measured_s = sorted(each.step_s for each in alike)[len(alike) // 2]
        said_s = predicted_s(model, alike[0])
        cells = [
            f"{measured_s * 1000:.2f}",
            f"{said_s * 1000:.2f}",
            f"{said_s / measured_s - 1:+.1%}",
        ]
        table.add_row(*map(str, point), *cells)
    console = Console()
    console.print(table)
    console.print(coefficients.source, markup=False, highlight=False)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _write(file: Path, coefficients: Coefficients) -> None:
    with _created(file) as made:
        made.write(format_coefficients(coefficients))
    typer.echo(f"wrote {file}", err=True)


def _keep(timed: Iterable[StepSample], file: Path) -> list[StepSample]:
    """Write each at once: what was timed is not lost if the rest fails."""
    kept: list[StepSample] = []
    with _created(file) as made:
        for sample in timed:
            made.write(format_samples([sample]))
            kept.append(sample)
    return kept


def _created(file: Path) -> FileIO:
    """The empty file. Raises: ConfigError."""
    try:
        return FileIO(file, "w")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _say(what: str) -> None:
    typer.echo(f"measuring {what}", err=True)
