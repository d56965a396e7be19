"""Which children `preble serve` runs, with which settings. Pure: nothing is started here."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from preble.config import ENV_PREFIX, Settings, to_environ
from preble.errors import ConfigError
from preble.serve.embedded_redis import valkey_command
from preble.serve.processes import ChildSpec, Role
from preble.tokenizer import EMBEDDED as EMBEDDED_TOKENIZER


def redis_child(binary: Path, folder: Path, port: int, environ: Mapping[str, str]) -> ChildSpec:
    """The embedded Valkey."""
    command = valkey_command(binary, folder, port)
    return ChildSpec("valkey", Role.REDIS, command, _foreign(environ))


def application_children(settings: Settings, environ: Mapping[str, str]) -> list[ChildSpec]:
    """The workers, the scheduler and the api, in the order of starting.

    Args:
        settings: Complete; ports already chosen.
        environ: What the children inherit; Preble's own variables in it are replaced.

    Raises:
        ConfigError: If the `http` engine lacks its URL or its tokenizer.
    """
    settings = msgspec.structs.replace(settings, metrics_port=0)  # one port cannot serve them all
    scheduler = msgspec.structs.replace(settings, instance="scheduler")
    return [
        *(_worker(each, environ) for each in worker_settings(settings)),
        _python("scheduler", Role.SCHEDULER, "preble.scheduler_process", scheduler, environ),
        _python("api", Role.API, "preble_api", settings, environ),
    ]


def worker_settings(settings: Settings) -> list[Settings]:
    """The settings of each worker, for instances gpu0, gpu1 and so on.

    An `http` engine is one instance, so there is one worker for each URL that
    `engine_url` names, separated by commas; and with `devices`, one for each group of GPUs.

    Raises:
        ConfigError: If the `http` engine lacks its URL or its tokenizer, or a group of GPUs
            is not as large as `tp_size`.
    """
    urls = _engine_urls(settings)
    groups = _device_groups(settings) or [settings.gpu] * len(urls)
    if settings.engine != "http":
        urls = [settings.engine_url] * len(groups)
    elif len(groups) != len(urls):
        msg = "setting devices: the engines of `http` run elsewhere, and have GPUs of their own"
        raise ConfigError(msg)
    return [
        msgspec.structs.replace(
            settings, instance=f"gpu{number}", engine_url=url, gpu=group, workers=len(groups)
        )
        for number, (url, group) in enumerate(zip(urls, groups, strict=True))
    ]


def _device_groups(settings: Settings) -> list[str]:
    groups = [group.strip() for group in settings.devices.split(";") if group.strip()]
    for group in groups:
        if len(group.split(",")) != settings.tp_size:
            msg = f"setting devices: group {group!r} is not of tp_size {settings.tp_size} GPUs"
            raise ConfigError(msg)
    return groups


def _engine_urls(settings: Settings) -> list[str]:
    if settings.engine != "http":
        return [settings.engine_url] * settings.workers
    urls = [url.strip() for url in settings.engine_url.split(",") if url.strip()]
    if not urls:
        msg = "engine http needs the URL of a running engine: name it with --engine-url"
        raise ConfigError(msg)
    if settings.tokenizer == EMBEDDED_TOKENIZER:
        # Token ids of another vocabulary would be answered, with nonsense.
        msg = "engine http needs its model's tokenizer: name the folder with --tokenizer"
        raise ConfigError(msg)
    return urls


def _worker(settings: Settings, environ: Mapping[str, str]) -> ChildSpec:
    return _python(settings.instance, Role.WORKER, "preble_workers", settings, environ)


def _python(
    name: str, role: Role, module: str, settings: Settings, environ: Mapping[str, str]
) -> ChildSpec:
    return ChildSpec(name, role, (sys.executable, "-m", module), child_environ(settings, environ))


def child_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What a process of ours is told: all settings, and whatever else there was."""
    return {**_foreign(environ), **to_environ(settings), "PYTHONUNBUFFERED": "1"}


def _foreign(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without Preble's own variables."""
    return {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)}
