"""Prompts made of a row's fields: `Translate {text} into {language}.` Pure."""

from collections.abc import Mapping
from string import Formatter
from typing import Final

import msgspec

from preble.errors import ConfigError

_FORMATTER: Final = Formatter()


class Template:
    """A text with fields in braces; `{{` and `}}` are braces.

    Args:
        text: As the user wrote it.

    Raises:
        ConfigError: If it is none, or has no field.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = [(before, name) for before, name, _, _ in _FORMATTER.parse(text)]
        except ValueError as error:
            raise ConfigError(
                f"--prompt-template: {error}; write a brace as {{{{ or }}}}"
            ) from None
        self._parts = parts
        self.names = frozenset(name for _, name in parts if name is not None)
        if not self.names or "" in self.names:
            msg = "--prompt-template: name the fields of a row in braces, such as {text}"
            raise ConfigError(msg)

    def render(self, fields: Mapping[str, object]) -> str:
        """The prompt of a row.

        Raises:
            KeyError: If the row lacks a field, with its name.
        """
        return "".join(
            before + ("" if name is None else _text(fields[name])) for before, name in self._parts
        )


def _text(value: object) -> str:
    """Texts as they are, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
