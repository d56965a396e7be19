"""The settings of a pool from what the front door was given, and from what servers say."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

from preble.config import ENV_PREFIX, Settings, load_settings
from preble.errors import ConfigError
from preble.front_door.arguments import device_groups, policy_of, urls_of
from preble.front_door.servers import Say, Served
from preble.tokenizer import is_hub_id, tokenizer_folder

_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_CHARS: Final = 40
_DIGEST_CHARS: Final = 8


def server_settings(
    policy: str,
    urls: str | Sequence[str],
    environ: Mapping[str, str],
    *,
    ask: Callable[[Sequence[str], Say], Sequence[Served]],
    say: Say,
    host: str,
    port: int,
    model: str,
) -> Settings:
    """What to run in front of running servers; the servers are asked last.

    Raises:
        ConfigError: As `start_server`.
    """
    checked = urls_of(urls)
    given = {
        "engine": "http", "engine_url": ",".join(checked), "policy": policy_of(policy),
        "host": host, "port": port, "model": model,
    }  # fmt: skip
    block_size = load_settings(environ, **given).block_size
    servers = ask(checked, say)
    _require_one_model(servers)
    _require_pages(servers, block_size)
    if _last_part(model) != _last_part(servers[0].model_path):
        say(f"the servers serve {servers[0].model_path}; clients will see the name {model}")
    said = {
        "pool": _pool_name(model, servers[0].model_path),
        "context_length": _context_length(servers),
        "page_size": max(server.page_size for server in servers),
    }
    tokenizer = _tokenizer(environ, servers[0], model)
    return load_settings(environ, **given, **tokenizer, **_unset(said, environ))


def models_settings(
    model_name: str,
    devices: str | int | Sequence[int],
    environ: Mapping[str, str],
    *,
    tp_size: int,
    host: str,
    port: int,
) -> Settings:
    """What to run where the engines are started as well.

    Raises:
        ConfigError: As `start_server_and_load_models`, but for what only an engine can tell.
    """
    groups = device_groups(devices, tp_size=tp_size)
    # A folder has no name but its last part, which is the setting's default.
    name = None if Path(model_name).is_dir() else model_name
    return load_settings(
        environ,
        engine="sglang",
        model_path=model_name,
        devices=";".join(",".join(map(str, group)) for group in groups),
        workers=len(groups),
        tp_size=tp_size,
        host=host,
        port=port,
        **_unset({"pool": _pool_name(_last_part(model_name), model_name), "model": name}, environ),
    )


def _require_one_model(servers: Sequence[Served]) -> None:
    first = servers[0]
    for other in servers[1:]:
        if other.model_path != first.model_path:
            msg = (
                f"runtime_urls: {first.url} serves {first.model_path}, but {other.url} serves "
                f"{other.model_path}; name servers of one model"
            )
            raise ConfigError(msg)


def _require_pages(servers: Sequence[Served], block_size: int) -> None:
    for server in servers:
        if block_size % server.page_size:
            msg = (
                f"runtime_urls: the page_size {server.page_size} of {server.url} does not divide "
                f"block_size {block_size}; start it with another --page-size"
            )
            raise ConfigError(msg)


def _context_length(servers: Sequence[Served]) -> int | None:
    """What fits every server; None, the setting's default, if none says."""
    said = [server.context_length for server in servers if server.context_length]
    return min(said, default=None)


def _tokenizer(environ: Mapping[str, str], server: Served, model: str) -> dict[str, object]:
    if f"{ENV_PREFIX}TOKENIZER" in environ:
        return {}
    return {"tokenizer": str(tokenizer_folder(_tokenizer_name(server, model)))}


def _tokenizer_name(server: Served, model: str) -> str:
    """A folder of this machine if there is one, else a name on the hub.

    A name that only clients use says nothing: ids of another vocabulary would be answered,
    with nonsense. So `model` is looked for on the hub only if it names what is served.
    """
    for name in (server.tokenizer_path, model):
        if Path(name).is_dir():
            return name
    if is_hub_id(server.tokenizer_path):
        return server.tokenizer_path
    if is_hub_id(model) and _last_part(model) == _last_part(server.model_path):
        return model
    msg = (
        f"the tokenizer of {server.url} lies in {server.tokenizer_path}, which is not on this "
        f"machine; copy it here and set {ENV_PREFIX}TOKENIZER to its folder"
    )
    raise ConfigError(msg)


def _pool_name(model: str, model_path: str) -> str:
    """One pool for each model: the embedded Valkey keeps its data, whatever comes next."""
    digest = hashlib.sha256(f"{model}\0{model_path}".encode()).hexdigest()[:_DIGEST_CHARS]
    name = _NO_NAME.sub("-", _last_part(model))[:_NAME_CHARS]
    return f"{name}-{digest}"


def _last_part(name: str) -> str:
    return PurePath(name).name


def _unset(values: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    """The values whose settings the environment leaves open."""
    return {
        name: value
        for name, value in values.items()
        if f"{ENV_PREFIX}{name.upper()}" not in environ
    }
