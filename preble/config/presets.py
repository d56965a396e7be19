"""Defaults that follow from other settings: from the engine and its model, and from folders."""

from collections.abc import Mapping
from pathlib import Path

from preble.folders import data_folder, embedded_model_folder


def engine_preset(
    given: Mapping[str, object], environ: Mapping[str, str], *, default: str
) -> dict[str, object]:
    """Defaults that follow from the engine and its model.

    An SGLang server takes its tokenizer from its model, and as much KV cache as fits. The
    embedded model is small enough for a few CPU cores, and so is its KV cache. An engine that
    answers at once would seem busy for as long as another cost model says.

    Args:
        given: Settings by name.
        environ: Says where the user's folders are.
        default: The engine if none is given.
    """
    engine = given.get("engine", default)
    if engine == "noop":
        return {"cost_model": "noop"}
    if engine != "sglang":
        return {}
    path = str(given.get("model_path", "")) or str(embedded_model_folder(environ))
    presets: dict[str, object] = {
        "model_path": path,
        "model": Path(path).name,
        "tokenizer": path,
        "kv_capacity_tokens": 0,
    }
    if not given.get("model_path"):
        presets |= {
            "context_length": 4096,
            "slots": 8,
            "wait_jobs": 2,
            "kv_capacity_tokens": 16_384,
            "chunk_tokens": 512,
            "cost_model": "smollm2_135m_cpu",
        }
    return presets


def files_preset(given: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    """Files beside the data of the embedded Redis; nowhere for a process without a home."""
    if data_dir := given.get("data_dir"):
        return {"files_dir": str(Path(str(data_dir)) / "files")}
    has_home = environ.keys() & {"HOME", "XDG_DATA_HOME"}
    return {"files_dir": str(data_folder(environ) / "files")} if has_home else {}
