"""A model's tokenizer from its files: `tokenizer.json`, and the chat template.

The template stands in `chat_template.jinja` or in `tokenizer_config.json`. A model's name on the
hub stands for the folder that `huggingface_hub` keeps of it; only then is that library imported.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

import httpx2
import msgspec
import tokenizers

from preble.errors import ConfigError
from preble.tokenizer.chat import ChatTemplate
from preble.tokenizer.tokenizer import Tokenizer

EMBEDDED: Final = "embedded"
_EMBEDDED_FOLDER: Final = Path(__file__).parent.parent / "data" / "tokenizer"
_SPECIAL_TOKENS: Final = ("bos_token", "eos_token", "pad_token", "unk_token")
_HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_HUB_FILES: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip
_LONGEST_REASON: Final = 200


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a folder, or of a model on the hub.

    Args:
        name: As `tokenizer_folder`.

    Raises:
        ConfigError: If the folder or its tokenizer.json is missing or cannot be read.
    """
    folder = tokenizer_folder(name)
    try:
        return _load(folder)
    except OSError as error:
        msg = f"tokenizer file {error.filename}: {error.strerror}; set PREBLE_TOKENIZER to a folder"
    except ValueError as error:
        msg = f"tokenizer folder {folder} cannot be used: {error}"
    raise ConfigError(msg)


def tokenizer_folder(name: str) -> Path:
    """The folder with a tokenizer's files; they are downloaded if need be.

    Args:
        name: `embedded` for the one that comes with Preble, a folder, or a model's name on
            the hub, such as `org/model`. HF_HOME, HF_TOKEN and HF_HUB_OFFLINE count.

    Raises:
        ConfigError: If the hub does not give the files.
    """
    if name == EMBEDDED:
        return _EMBEDDED_FOLDER
    folder = Path(name)
    return folder if folder.is_dir() or not is_hub_id(name) else _hub_folder(name)


def is_hub_id(name: str) -> bool:
    """Whether this could be a model's name on the hub: `org/model`."""
    return bool(_HUB_ID.fullmatch(name))


def _hub_folder(name: str) -> Path:
    from huggingface_hub import (  # noqa: PLC0415  # see the module's head
        snapshot_download,  # pyright: ignore[reportUnknownVariableType]  # partly untyped
    )

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    # Its errors are of either kind: no network, no such model, no access, a full disk.
    except (OSError, ValueError, httpx2.HTTPError) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
    msg = (
        f"tokenizer {name!r} is no folder here, and the hub did not give it ({reason}); "
        "set PREBLE_TOKENIZER to a folder with its tokenizer.json"
    )
    raise ConfigError(msg)


def _load(folder: Path) -> Tokenizer:
    definition = (folder / "tokenizer.json").read_bytes()
    config = _config(folder / "tokenizer_config.json")
    template = _template_source(folder / "chat_template.jinja", config)
    return Tokenizer(
        tokenizers.Tokenizer.from_buffer(definition),
        ChatTemplate(template, _special_tokens(config)),
        hashlib.sha256(definition + b"\0" + template.encode()).hexdigest(),
    )


class _Config(msgspec.Struct, frozen=True):
    """What is read of tokenizer_config.json."""

    chat_template: str | list[dict[str, str]] = ""
    bos_token: str | dict[str, object] | None = None
    eos_token: str | dict[str, object] | None = None
    pad_token: str | dict[str, object] | None = None
    unk_token: str | dict[str, object] | None = None


def _config(path: Path) -> _Config:
    return msgspec.json.decode(path.read_bytes(), type=_Config) if path.exists() else _Config()


def _template_source(path: Path, config: _Config) -> str:
    """The default chat template; newer models keep it in a file of its own."""
    if path.exists():
        return path.read_text("utf-8")
    if isinstance(config.chat_template, str):
        return config.chat_template
    named = {each.get("name"): each.get("template", "") for each in config.chat_template}
    return named.get("default", "")


def _special_tokens(config: _Config) -> dict[str, str]:
    """Texts of the special tokens; a token may be saved as an object with its `content`."""
    found: dict[str, str] = {}
    for name in _SPECIAL_TOKENS:
        token: str | dict[str, object] | None = getattr(config, name)
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            found[name] = content
    return found
