"""What each setting means, and its value without what is secret: for people."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Final

from preble.config import Settings
from preble.serve.network import without_password

_HIDDEN: Final = frozenset({"api_key", "webhook_secret"})
_SECRET_PART: Final = re.compile(r"((?:password|api[-_]key)[= ])[^&\s]+", re.IGNORECASE)


@cache
def setting_help() -> dict[str, str]:
    """The text below each field of `Settings`, on one line. Cost: reads the source, once."""
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(Settings))).body
    return dict(_texts(made.body)) if isinstance(made, ast.ClassDef) else {}


def _texts(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())
            case _:
                pass


def shown(name: str, value: object) -> str:
    """A value as it may be printed."""
    if name in _HIDDEN:
        return "***" if value else ""
    return _SECRET_PART.sub(r"\1***", without_password(str(value)))
