"""What a run tells the next one beside its output: under which name its jobs are known."""

import os
from hashlib import blake2b
from pathlib import Path

import msgspec

from preble.client import dated_key
from preble.errors import ConfigError


class RunState(msgspec.Struct, frozen=True):
    """Names the jobs of a run. The key of a line's job follows from it and the line.

    So what was under way when a run died is found by the next, and made no second time.
    """

    run: str
    queue: str
    """Hash of where jobs wait: a job that waits elsewhere is another."""


def state_path(out: str) -> Path:
    """Where the state of a run stands."""
    return Path(f"{out}.state.json")


def load_state(out: str, queue: bytes, *, is_new: bool) -> RunState:
    """The state of the run that is to be resumed, or a new one.

    Args:
        out: The output.
        queue: Where jobs wait.
        is_new: Whether jobs of earlier runs are not to be found.
    """
    queue_hash = blake2b(queue, digest_size=8).hexdigest()
    try:
        found = msgspec.json.decode(state_path(out).read_bytes(), type=RunState)
    except (OSError, msgspec.DecodeError):
        found = None
    if found is None or is_new or found.queue != queue_hash:
        return RunState(dated_key(), queue_hash)
    return found


def save_state(out: str, state: RunState) -> None:
    """Keep it, before a job is made under its name.

    Raises:
        ConfigError: If it cannot be written.
    """
    path = state_path(out)
    draft = path.with_name(f"{path.name}.new")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
