"""docs/reference/keys.md: every key in Redis, and the scripts that touch it."""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Final, NamedTuple

from preble.broker import keys
from preble.broker.acl import RIGHTS, ROLES
from preble.broker.keys import KEYS, Key
from preble.broker.scripts import LIBRARY
from tools.reference.markdown import code, document, paragraph, sentence, table

_INTRODUCTION: Final = """\
What a pool keeps in Redis, for those who look into it. Nothing of it is an interface: read it, but
change it only by Preble's commands. A pool lives on one primary, not on a Redis Cluster.

`{pool}` is the pool's name (`PREBLE_POOL`); other words in braces say whose key it is. Words in
capitals are [scripts](#scripts): Redis runs each as a whole. *Gone* says when a key ends: the
script that deletes it, or a condition; "with the job" is `PREBLE_RESULT_TTL_S` after its end.
*Rights* are those of the accounts that `preble redis acl` prints: `r` reads, `w` writes."""

_HEADER: Final = re.compile(r"^-- (?P<name>[A-Z_]+): (?P<what>.*?)\n--\n-- Keys: ", re.DOTALL)


class Script(NamedTuple):
    """A Lua script by the header of its file."""

    name: str
    what: str


def page() -> str:
    """The whole page."""
    ours = [key for key in KEYS if key.template.startswith("preble:")]
    # The first two say what the module is.
    notes = paragraph(keys.__doc__ or "").split("\n\n")[2:]
    return document(
        "Keys in Redis", _INTRODUCTION,
        "## Preble's", _table(ours),
        "## RQ's", "As RQ itself writes them, so that its tools show what happens.",
        _table([key for key in KEYS if key not in ours]),
        "## Notes", *notes,
        "## Scripts", table(["Script", "Does"], ([code(name), what] for name, what in scripts())),
    )  # fmt: skip


def scripts() -> Iterator[Script]:
    """All scripts, by name."""
    folder = files("preble.broker.scripts")
    for each in sorted(folder.iterdir(), key=lambda file: file.name):
        if each.name.endswith(".lua") and each.name not in LIBRARY:
            yield _script(each.read_text())


def _script(source: str) -> Script:
    """What the header of a script says. Raises: ValueError, if it has none."""
    found = _HEADER.search(source.partition("\n")[2])
    if found is None:
        msg = f"a script has no header of the form `-- NAME: what`: {source[:80]!r}"
        raise ValueError(msg)
    what = found["what"].replace("\n--", " ")
    return Script(found["name"], sentence(" ".join(what.split())))


def _table(rows: list[Key]) -> str:
    head = [
        "Name",
        "Key",
        "Type",
        "Written by",
        "Read by",
        "Gone",
        *(f"Rights: {r}" for r in ROLES),
    ]
    return table(head, map(_row, rows))


def _row(key: Key) -> list[str]:
    rights = RIGHTS[key.name]
    return [key.name, code(key.template), key.type, key.writers, key.readers, key.goes, *rights]
