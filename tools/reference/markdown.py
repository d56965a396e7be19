"""Markdown, as far as the reference pages need it."""

import re
from collections.abc import Iterable, Sequence

NOTICE = "<!-- Made by `python -m tools.reference` of the code; changes here are lost. -->"


def document(title: str, *parts: str) -> str:
    """A page: its title, that it is made, its parts."""
    shown = [part.strip("\n") for part in parts if part.strip()]
    return "\n\n".join([f"# {title}", NOTICE, *shown]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; empty without rows."""
    lines = [_row(row) for row in rows]
    if not lines:
        return ""
    return "\n".join([_row(head), "|" + "---|" * len(head), *lines])


def code(text: str) -> str:
    """A piece of code within a line."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def paragraph(text: str) -> str:
    """Lines of a docstring as one line; empty lines part paragraphs."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(block.split()) for block in blocks)


def sentence(text: str) -> str:
    """The text with a capital first and a full stop last."""
    text = text.strip()
    if not text:
        return ""
    return text[:1].upper() + text[1:] + ("" if text[-1] in ".:;?!" else ".")


def anchor(heading: str) -> str:
    """What a link to a heading names, as GitHub makes it."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    kept = re.sub(r"[^\w\- ]", "", shown.strip().lower())
    return kept.replace(" ", "-")


def _row(cells: Sequence[str]) -> str:
    shown = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(shown)} |"
