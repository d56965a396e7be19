"""Text to token ids and back, for one pool's model, from a folder or from the hub.

Reads the two files that every model carries: `tokenizer.json` for the tokens, and the chat
template from `chat_template.jinja` or `tokenizer_config.json`. Tokens are the business of
the `tokenizers` library, chats of transformers, which is imported with the first chat: that
takes a second, and a worker never needs it. A model's name on the hub stands for the folder
that `huggingface_hub` keeps of it; only then is that library imported.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
import jinja2
import msgspec
import tokenizers

from preble.errors import ConfigError, InvalidJob

EMBEDDED: Final = "embedded"
_EMBEDDED_FOLDER: Final = Path(__file__).parent / "data" / "tokenizer"
_SPECIAL_TOKENS: Final = ("bos_token", "eos_token", "pad_token", "unk_token")
_HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_HUB_FILES: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip
_LONGEST_REASON: Final = 200

Message = Mapping[str, str]
"""One turn of a chat: its `role` and its `content`."""


class Tokenizer:
    """A model's tokenizer and chat template. Safe to use from several threads at once."""

    def __init__(self, core: tokenizers.Tokenizer, chat: "ChatTemplate", fingerprint: str) -> None:
        # A saved file may ask for either; a prompt must be neither cut nor filled up.
        core.no_truncation()
        core.no_padding()
        self._core = core
        self._chat = chat
        self.fingerprint = fingerprint
        """Hex SHA-256 of tokenizer.json and the chat template."""
        self.vocab_size = 1 + max(core.get_vocab(with_added_tokens=True).values())
        """One more than the highest token id."""

    def encode(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
        """Token ids of each text.

        Releases the GIL while it works, which the library's call for one text does not.

        Args:
            texts: Prompts as the user wrote them, or rendered chats.
            add_special_tokens: Whether to add what the tokenizer puts around a raw prompt;
                False for a rendered chat, whose template has written it already.

        Cost: about 250 microseconds for 1,000 characters of English.
        """
        encodings = self._core.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return self._core.decode(list(ids), skip_special_tokens=True)

    def render_chat(self, messages: Sequence[Message]) -> str:
        """A chat as the one text that the model was trained on, ready for the answer.

        Raises:
            InvalidJob: If the template refuses these messages, or the model has none.
        """
        return self._chat.render(messages)


class ChatTemplate:
    """A model's chat template, run in transformers' sandbox: it comes with the model's files.

    Args:
        source: Jinja source; empty if the model has none.
        special_tokens: Their texts by name, such as `bos_token`, for the template's use.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self._source = source
        self._special_tokens = special_tokens

    def render(self, messages: Sequence[Message]) -> str:
        """See `Tokenizer.render_chat`."""
        if not self._source:
            msg = "this pool's model has no chat template; send `prompt` or `input_ids`"
            raise InvalidJob("messages", msg)
        try:
            return _render(self._source, messages, self._special_tokens)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            # Templates index and concatenate what they are given, and raise as they like.
            msg = f"the model's chat template refuses these messages: {error}"
            raise InvalidJob("messages", msg) from None


def _render(source: str, messages: Sequence[Message], special_tokens: Mapping[str, str]) -> str:
    # Else it says on import that there is no torch, which is as it should be.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers.utils.chat_template_utils import (  # noqa: PLC0415  # see the module's head
        render_jinja_template,  # pyright: ignore[reportUnknownVariableType]  # partly untyped
    )

    names: dict[str, Any] = dict(special_tokens)
    rendered: Any = render_jinja_template(
        [[dict(message) for message in messages]],
        chat_template=source,
        add_generation_prompt=True,
        **names,
    )
    text: str = rendered[0][0]
    return text


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
