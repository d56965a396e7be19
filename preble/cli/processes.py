"""The commands that run servers: each application as a process of its own, never imported."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from preble import engine_env
from preble.cli import options
from preble.config import (
    Configuration,
    Settings,
    flat_environ,
    load_configuration,
    load_settings,
)
from preble.demo import demo_defaults, run_demo
from preble.engine_env import EngineNotInstalled, require_engine, why_not
from preble.serve import serve as serve_until_stopped
from preble.serve.plan import child_environ

_NO_SETTINGS: Final = frozenset({"json_file", "install"})
"""Flags that say what to do, not how."""


def serve(
    *,
    host: options.Host = None,
    port: options.Port = None,
    engine: options.Engine = None,
    engine_url: options.EngineUrls = None,
    model_path: options.ModelPath = None,
    device: options.Device = None,
    devices: options.Devices = None,
    tp_size: options.TpSize = None,
    engine_args: options.EngineArgs = None,
    workers: options.Workers = None,
    redis_url: options.ServeRedisUrl = None,
    policy: options.Policy = None,
    binding: options.Binding = None,
    pool: options.Pool = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
    data_dir: options.DataDir = None,
    log_level: options.LogLevel = None,
    config: options.ConfigFile = None,
    install: options.Install = False,
) -> None:
    """Run everything on this machine: Valkey, api, scheduler and workers.

    Prints the URLs when all is ready, restarts what dies, and stops everything on Ctrl-C.
    """
    flags = {name: value for name, value in locals().items() if name not in _NO_SETTINGS}
    configuration = _configured(flags)
    if install:
        install_engine(configuration.settings)
    embedded = "redis_url" not in configuration.origins
    serve_until_stopped(configuration.settings, embedded=embedded)


def api(
    *,
    host: options.Host = None,
    port: options.Port = None,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
    log_level: options.LogLevel = None,
    config: options.ConfigFile = None,
) -> None:
    """Run one api. Any number may run on one Redis."""
    become("preble_api", _configured(locals()).settings)


def scheduler(
    *,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
    policy: options.Policy = None,
    binding: options.Binding = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
    log_level: options.LogLevel = None,
    config: options.ConfigFile = None,
) -> None:
    """Run one scheduler. One leads the pool, others stand by."""
    become("preble.scheduler_process", _configured(locals()).settings)


def worker(
    *,
    instance: options.Instance = None,
    engine: options.Engine = None,
    engine_url: options.EngineUrl = None,
    model_path: options.ModelPath = None,
    device: options.Device = None,
    gpu: options.Gpu = None,
    tp_size: options.TpSize = None,
    engine_args: options.EngineArgs = None,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
    log_level: options.LogLevel = None,
    config: options.ConfigFile = None,
) -> None:
    """Run the worker of one instance, beside its engine."""
    become("preble_workers", _configured(locals()).settings)


def demo(
    *,
    engine: options.Engine = None,
    engine_url: options.EngineUrls = None,
    model_path: options.ModelPath = None,
    device: options.Device = None,
    workers: options.Workers = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
    config: options.ConfigFile = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    install: options.Install = False,
) -> None:
    """Place the same prompts by round robin and by e2, and compare.

    Exit status 0 only if every job of both rounds was completed.
    """
    flags = {name: value for name, value in locals().items() if name not in _NO_SETTINGS}
    defaults = demo_defaults(_configured(flags).settings)
    environ = {**defaults, **flat_environ(os.environ, config=config)}
    settings = load_settings(environ, **{**flags, "config": None})
    if install:
        install_engine(settings)
    if not run_demo(settings, Console(), json_file):
        raise typer.Exit(1)


def _configured(flags: Mapping[str, Any]) -> Configuration:
    """The settings of a command that runs servers, whose log says which file they are from."""
    configuration = load_configuration(os.environ, **flags)
    if configuration.file:
        typer.echo(f"preble: settings are read from {configuration.file}", err=True)
    return configuration


def install_engine(settings: Settings) -> None:
    """Install what engine `sglang` needs on a CPU, unless it is there.

    Raises:
        EngineNotInstalled: If it cannot run here.
        EngineEnvError: If the installation fails.
    """
    if settings.engine != "sglang":
        return
    try:
        require_engine(settings, os.environ)
    except EngineNotInstalled:
        if why_not("cpu", os.environ):
            raise
        engine_env.install("cpu", os.environ, typer.echo)


def become(module: str, settings: Settings) -> None:
    """Replace this process by an application that is told the settings."""
    sys.stdout.flush()
    command = [sys.executable, "-m", module]
    os.execve(sys.executable, command, child_environ(settings, os.environ))  # noqa: S606
