"""What GPUs can do by their makers' data sheets: 16-bit, dense, no sparsity."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec


class Gpu(msgspec.Struct, frozen=True):
    """One GPU.

    Args:
        title: Its full name.
        peak_tflops: Tensor cores, 16-bit inputs, 32-bit sums, dense: half of the figure that a
            data sheet gives with sparsity.
        memory_gb_per_s: Memory bandwidth.
        memory_gib: Memory.
        source: Where the figures stand.
    """

    title: str
    peak_tflops: float
    memory_gb_per_s: float
    memory_gib: float
    source: str


KNOWN_GPUS: Final[Mapping[str, Gpu]] = MappingProxyType(
    {
        "a10": Gpu("NVIDIA A10", 125, 600, 24, "NVIDIA A10 data sheet"),
        "a100": Gpu("NVIDIA A100 80GB SXM", 312, 2039, 80, "NVIDIA A100 80GB data sheet"),
        "a6000": Gpu(
            "NVIDIA RTX A6000", 154.8, 768, 48, "NVIDIA RTX A6000 data sheet: 309.7 sparse"
        ),
        "b200": Gpu("NVIDIA B200 SXM", 2250, 8000, 180, "NVIDIA DGX B200 data sheet, an eighth"),
        "h100": Gpu("NVIDIA H100 SXM", 989.5, 3350, 80, "NVIDIA H100 data sheet: 1,979 sparse"),
        "h200": Gpu("NVIDIA H200 SXM", 989.5, 4800, 141, "NVIDIA H200 data sheet: 1,979 sparse"),
        "l4": Gpu("NVIDIA L4", 121, 300, 24, "NVIDIA L4 data sheet: 242 sparse"),
        "l40s": Gpu("NVIDIA L40S", 362.05, 864, 48, "NVIDIA L40S data sheet: 733 sparse"),
        "rtx4090": Gpu(
            "NVIDIA GeForce RTX 4090", 165.2, 1008, 24, "NVIDIA Ada GPU architecture whitepaper"
        ),
    }
)
