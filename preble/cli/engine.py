"""`preble engine`: install, look at and remove the environments that engines run in."""

import os
from typing import Annotated

import msgspec
import typer

from preble import engine_env
from preble.cli import options
from preble.engine_env import EngineEnvKind
from preble.engine_env.info import EngineFacts, Facts, read_facts
from preble.folders import embedded_model_folder

app = typer.Typer(
    no_args_is_help=True,
    help="Install, look at and remove the engines that this machine can run.",
    epilog="Packages come from where pip takes them: PIP_INDEX_URL, PIP_FIND_LINKS, PIP_CERT.",
)

Kind = Annotated[
    EngineEnvKind, typer.Argument(help="SGLang for a CPU or for NVIDIA GPUs; vLLM for a CPU.")
]

_MIB = 1024**2


@app.command()
def install(
    *,
    kind: Kind,
    repair: Annotated[
        bool, typer.Option("--repair", help="Check every file, and replace what is damaged.")
    ] = False,
) -> None:
    """Install an engine in an environment of its own, and make the embedded model.

    Running it again continues what was cut off, and brings an engine to this Preble's versions.
    """
    engine_env.install(kind, os.environ, typer.echo, repair=repair)


@app.command()
def info(*, output: options.Output = "text") -> None:
    """Show which engines are installed, which can run here, the embedded model, the devices."""
    facts = read_facts(os.environ)
    if output == "json":
        typer.echo(msgspec.json.encode(facts))
        return
    for line in describe(facts):
        typer.echo(line)


@app.command()
def remove(
    *,
    kind: Kind,
    model: Annotated[bool, typer.Option("--model", help="The embedded model too.")] = False,
) -> None:
    """Remove an engine, and with --model the embedded model."""
    folder = embedded_model_folder(os.environ)
    has_model = model and folder.exists()
    if has_model:
        engine_env.remove_embedded_model(os.environ, typer.echo)
    if not has_model or engine_env.env_folder(kind, os.environ).exists():
        engine_env.remove(kind, os.environ, typer.echo)


def describe(facts: Facts) -> list[str]:
    """The facts for people: a name, what is so, and where."""
    lines = [line for engine in facts.engines for line in _describe_engine(engine)]
    model = facts.model
    state = f"{_size(model.size_bytes)}, fingerprint {model.fingerprint}"
    lines.append(f"model     {model.name}: {state if model.made else 'not made'}")
    lines.append(f"          {model.folder}")
    lines.append(f"cpu       {facts.cpu}, {facts.cpus} usable")
    lines += [f"gpu       {name}" for name in facts.gpus]
    return lines


def _describe_engine(engine: EngineFacts) -> list[str]:
    lines = [f"{engine.kind:10}{_state(engine)}", f"          {engine.folder}"]
    if engine.why_not:
        lines.append(f"          cannot run here: {engine.why_not}")
    return lines


def _state(engine: EngineFacts) -> str:
    if not engine.installed:
        what = "incomplete" if engine.size_bytes else "not installed"
        return f"{what}: run `preble engine install {engine.kind}`" if not engine.why_not else what
    versions = ", ".join(f"{name} {version}" for name, version in engine.versions.items())
    return f"installed, {_size(engine.size_bytes)}: {versions}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.0f} MiB"
