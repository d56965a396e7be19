"""Chats into the one text that a model was trained on."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from preble.errors import InvalidJob

Message = Mapping[str, str]
"""One turn of a chat: its `role` and its `content`."""


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
