"""`preble fit-cost`: a cost model from timed steps, from a run of an engine, or from sizes."""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from preble.cli import options
from preble.client import JobFields, PrebleClient, Result
from preble.config import Settings, load_settings
from preble.cost_model.coefficients import Coefficients
from preble.cost_model.estimate import Hardware, estimate
from preble.cost_model.files import format_coefficients
from preble.cost_model.fit import Fit, fit, predicted_s
from preble.cost_model.gpus import KNOWN_GPUS
from preble.cost_model.model import CostModel
from preble.cost_model.model_config import parse_model_config
from preble.cost_model.probes import (
    DECODE_TOKENS,
    DecodeProbe,
    decode_sample,
    plan_decodes,
    plan_prefills,
    prefill_sample,
)
from preble.cost_model.samples import StepSample, format_samples, parse_samples
from preble.engine_env import find_engine_python, require_engine
from preble.engine_env.info import read_facts
from preble.errors import ConfigError, PrebleError
from preble.serve.plan import worker_settings
from preble.serve.private import private_stack

REPEATS: Final = 3
"""Times that each step is measured."""
_WARM_UPS: Final = 3
_POLL_S: Final = 0.1
"""Rarely enough not to slow an engine that shares the CPU."""
_FIRST_ID, _LAST_ID = 1_000, 15_000
"""Ordinary words in any vocabulary we serve."""


class ProbeFailed(PrebleError):
    """A probe's job did not complete."""


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
    """Make a cost model: fit SAMPLES, or `--measure` an engine, or estimate by `--config`."""
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
        timed = run_probes(settings, _say)
        _write_bytes(output.with_suffix(".samples.jsonl"), format_samples(timed))
        source = f"{len(timed)} steps of {_place(settings, os.environ)}"
    fitted = fit(timed, name=name)
    coefficients = msgspec.structs.replace(fitted.coefficients, source=_source(source, fitted))
    _show(coefficients, timed)
    _write(output, coefficients)


def run_probes(settings: Settings, say: Callable[[str], None]) -> list[StepSample]:
    """Time the steps of one engine on a private stack.

    Raises:
        ConfigError: If the settings do not name one engine that can be run.
        ProbeFailed: If a job fails.
        PrebleError: If the stack cannot be run.
    """
    if len(worker_settings(settings)) != 1:
        raise ConfigError("--measure takes one engine: name one URL, or no devices")
    if settings.engine == "sglang":
        require_engine(settings, os.environ)
    say(f"one instance of engine {settings.engine}: starting")
    with (
        private_stack(settings) as stack,
        PrebleClient(stack.url, api_key=settings.api_key) as client,
    ):
        prober = Prober(client, settings)
        prober.warm_up()
        return [*prober.prefills(say), *prober.decodes(say)]


class Prober:
    """Sends probes to an engine that does nothing else.

    Args:
        client: Of its stack.
        settings: Of the engine.
    """

    def __init__(self, client: PrebleClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._rng = random.Random(1)  # noqa: S311 - data, not secrets

    def warm_up(self) -> None:
        """Let the engine allocate and compile what it does at first."""
        for _ in range(_WARM_UPS):
            self._run([self._ids(64)], DECODE_TOKENS)

    def prefills(self, say: Callable[[str], None]) -> Iterator[StepSample]:
        """Each prefill probe, alone, with new tokens of its own each time."""
        bases: dict[int, list[int]] = {}
        for probe in plan_prefills(self._settings):
            say(f"prefill of {probe.new_tokens} tokens over {probe.base_tokens}")
            if probe.base_tokens not in bases:
                bases[probe.base_tokens] = self._held(1, probe.base_tokens)[0]
            for _ in range(REPEATS):
                prompt = bases[probe.base_tokens] + self._ids(probe.new_tokens)
                result = self._run([prompt], 1)[0]
                sample = prefill_sample(
                    self._settings, prompt_tokens=len(prompt),
                    cached_tokens=result.usage.cached_tokens, ttft_s=result.ttft_s,
                )  # fmt: skip
                if sample:
                    yield sample

    def decodes(self, say: Callable[[str], None]) -> Iterator[StepSample]:
        """Each decode probe, with prompts that the engine has just computed."""
        prompts: list[list[int]] = []
        for probe in plan_decodes(self._settings):
            say(f"decode of {probe.num_requests} requests with {probe.prompt_tokens} tokens each")
            if prompts and len(prompts[0]) != probe.prompt_tokens:
                prompts = []
            prompts += self._held(probe.num_requests - len(prompts), probe.prompt_tokens)
            for _ in range(REPEATS):
                if sample := self._decode(probe, prompts):
                    yield sample

    def _decode(self, probe: DecodeProbe, prompts: Sequence[list[int]]) -> StepSample | None:
        results = self._run(prompts, DECODE_TOKENS)
        return decode_sample(
            self._settings, probe,
            cached_tokens=min(result.usage.cached_tokens for result in results),
            # Who joined last saw no other's prefill.
            token_s=min((each.engine_s - each.ttft_s) / (DECODE_TOKENS - 1) for each in results),
        )  # fmt: skip

    def _held(self, count: int, num_tokens: int) -> list[list[int]]:
        """New prompts that the engine now holds."""
        prompts = [self._ids(num_tokens) for _ in range(count)]
        if num_tokens:
            self._run(prompts, 1)
        return prompts

    def _run(self, prompts: Sequence[list[int]], output_tokens: int) -> list[Result]:
        sampling = {"max_new_tokens": output_tokens, "temperature": 0.0, "ignore_eos": True}
        jobs: list[JobFields] = [
            {"input_ids": prompt, "sampling_params": sampling} for prompt in prompts
        ]
        return [self._result(job_id) for job_id in self._client.submit(jobs)]

    def _result(self, job_id: str) -> Result:
        """What a job delivers in the end. Raises: ProbeFailed."""
        while not (job := self._client.get(job_id)).status.is_terminal:
            time.sleep(_POLL_S)
        if job.result is None:
            reason = f"{job.error.code}: {job.error.message}" if job.error else job.status
            raise ProbeFailed(f"job {job_id} did not complete: {reason}")
        return job.result

    def _ids(self, count: int) -> list[int]:
        return [self._rng.randint(_FIRST_ID, _LAST_ID) for _ in range(count)]


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
    _write_bytes(file, format_coefficients(coefficients))


def _write_bytes(file: Path, text: bytes) -> None:
    try:
        file.write_bytes(text)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    typer.echo(f"wrote {file}", err=True)


def _say(what: str) -> None:
    typer.echo(f"measuring {what}", err=True)
