"""vLLM's `/metrics`: what a server takes, what is in it, whether it is the same. No I/O.

Proved against vLLM 0.32.0.
"""

import re
from typing import Final

from preble_workers.dialect import ServerLoad
from preble_workers.engine import EngineInfo
from preble_workers.vllm_wire import Model

_SAMPLE: Final = re.compile(r"^([\w:]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


def engine_info(model: Model, metrics: str, assumed: EngineInfo) -> EngineInfo:
    """What a server takes, by its model and its metrics; what they leave out is assumed."""
    cache = cache_labels(metrics)
    page_size = _count(cache.get("block_size")) or assumed.page_size
    num_pages = _count(cache.get("num_gpu_blocks"))
    capacity_tokens = _count(cache.get("kv_cache_size_tokens")) or num_pages * page_size
    return EngineInfo(
        slots=assumed.slots,
        kv_capacity_tokens=capacity_tokens or assumed.kv_capacity_tokens,
        page_size=page_size,
        context_length=model.max_model_len or assumed.context_length,
        has_kv_cache=cache.get("enable_prefix_caching") != "False",
    )


def cache_labels(metrics: str) -> dict[str, str]:
    """Settings of the KV cache, which vLLM tells as labels of a metric."""
    labels = _samples(metrics).get("vllm:cache_config_info", [("", 0.0)])[0][0]
    return dict(_LABEL.findall(labels))


def server_load(metrics: str) -> ServerLoad | None:
    """Requests in the server; None if it keeps no such figures."""
    samples = _samples(metrics)
    if "vllm:num_requests_running" not in samples:
        return None
    return ServerLoad(
        int(sum(value for _, value in samples["vllm:num_requests_running"])),
        int(sum(value for _, value in samples.get("vllm:num_requests_waiting", []))),
    )


def server_identity(metrics: str) -> object:
    """When the server's process started; None if it does not say."""
    return next((at for _, at in _samples(metrics).get("process_start_time_seconds", [])), None)


def step_figures(metrics: str) -> str:
    """All figures of the engine: while it steps, one or another of them moves."""
    return "\n".join(line for line in metrics.splitlines() if line.startswith("vllm:"))


def _samples(metrics: str) -> dict[str, list[tuple[str, float]]]:
    """Labels and value of each metric, by its name, of Prometheus's text."""
    samples: dict[str, list[tuple[str, float]]] = {}
    for name, labels, value in _SAMPLE.findall(metrics):
        samples.setdefault(name, []).append((labels, float(value)))
    return samples


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
