"""The Lua scripts, each with the pool's key functions and the shared library before it."""

from importlib import resources
from typing import Final

from preble.broker.ended import (
    DROPS_AT_AN_END,
    ENDED_JOB_BYTES,
    STREAM_BYTES,
    STREAM_PAGE_BYTES,
)
from preble.broker.keys import PoolKeys
from preble.broker.streams import INBOX_ENTRIES, MOST_LOG_BYTES
from preble.broker.webhooks import (
    LONGEST_CROWDED_S,
    LONGEST_OWED_S,
    MOST_DEAD,
    MOST_SEEN,
    SHORTEST_CROWDED_S,
)
from preble.config import LONGEST_LEASE_S
from preble.messages import QUARANTINE_AFTER

LIBRARY: Final = ("lib.lua", "endings.lua")
"""What all scripts share, in this order."""

_RESULTS_KEPT: Final = 1
"""Of one job: what is kept of it is bounded in bytes, and only its last end is counted."""

_CONSTANTS: Final = f"""\
local RESULTS_KEPT = {_RESULTS_KEPT}
local QUARANTINE_AFTER = {QUARANTINE_AFTER}
local LONGEST_LEASE_MS = {LONGEST_LEASE_S * 1000:.0f}
local INBOX_ENTRIES = {INBOX_ENTRIES}
local MOST_LOG_BYTES = {MOST_LOG_BYTES}
local ENDED_JOB_BYTES = {ENDED_JOB_BYTES}
local STREAM_BYTES = {STREAM_BYTES}
local STREAM_PAGE_BYTES = {STREAM_PAGE_BYTES}
local DROPS_AT_AN_END = {DROPS_AT_AN_END}
local MOST_DEAD_WEBHOOKS = {MOST_DEAD}
local MOST_SEEN_WEBHOOKS = {MOST_SEEN}
local LONGEST_OWED_MS = {LONGEST_OWED_S * 1000:.0f}
local SHORTEST_CROWDED_MS = {SHORTEST_CROWDED_S * 1000:.0f}
local LONGEST_CROWDED_MS = {LONGEST_CROWDED_S * 1000:.0f}"""


def load_scripts(keys: PoolKeys) -> dict[str, str]:
    """Source of every script for one pool, by name."""
    files = {file.name: file.read_text() for file in resources.files(__name__).iterdir()
             if file.name.endswith(".lua")}  # fmt: skip
    library = [files.pop(name) for name in LIBRARY]
    prelude = "\n".join([keys.lua_functions(), _CONSTANTS, *library])
    return {name.removesuffix(".lua"): _assemble(text, prelude) for name, text in files.items()}


def _assemble(text: str, prelude: str) -> str:
    """The script with the prelude after its first line, which must stay the `#!lua` line."""
    shebang, _, body = text.partition("\n")
    return f"{shebang}\n{prelude}\n{body}"
