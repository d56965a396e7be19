"""Which GPUs each worker gets, from what `nvidia-smi` prints. Pure.

    listing (nvidia-smi -L) ─▶ those that CUDA_VISIBLE_DEVICES leaves ─▶ groups of tp_size,
    matrix (nvidia-smi topo -m) ───────────────────────────────────────▶ by their links

A group works at the pace of its slowest link, so the groups with the best slowest links are taken
first. Where nothing is known of links, all are alike, and groups follow the numbers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Final

import msgspec

from preble.errors import ConfigError

AUTO: Final = "auto"
"""The setting `devices` that asks for discovery."""

_GPU: Final = re.compile(r"GPU (\d+): .* \(UUID: (GPU-[\w-]+)\)")
_MIG: Final = re.compile(r"\s+MIG .* \(UUID: (MIG-[\w/-]+)\)")
_STYLE: Final = re.compile(r"\x1b\[\d*m")
_LINKS: Final = ("SYS", "NODE", "PHB", "PXB", "PIX")
"""From the slowest on; NVLinks (`NV12`: twelve of them) come after."""
_UNKNOWN_LINK: Final = -1
_MOST_CHOICES: Final = 16
"""GPUs among which groups are chosen; more are taken by their numbers."""


class Gpu(msgspec.Struct, frozen=True):
    """A GPU, or a part of one (MIG)."""

    number: int
    """As `nvidia-smi` counts."""
    uuid: str
    is_part: bool = False

    @property
    def name(self) -> str:
        """As CUDA_VISIBLE_DEVICES takes it; only whole GPUs have numbers there."""
        return self.uuid if self.is_part else str(self.number)


Links = Mapping[tuple[int, int], int]
"""How fast two GPUs, by their numbers, reach each other: more is faster."""


def read_listing(listing: str) -> list[Gpu]:
    """The devices that `nvidia-smi -L` lists; of a GPU that is in parts, the parts."""
    found: list[Gpu] = []
    for line in listing.splitlines():
        if whole := _GPU.match(line):
            found.append(Gpu(int(whole[1]), whole[2]))
        elif (part := _MIG.match(line)) and found:
            before = found[-1] if found[-1].is_part else found.pop()
            found.append(Gpu(before.number, part[1], is_part=True))
    return found


def read_links(matrix: str) -> Links:
    """What `nvidia-smi topo -m` says of pairs of GPUs; nothing if it says nothing."""
    rows = [_STYLE.sub("", line).split() for line in matrix.splitlines()]
    header = next((row for row in rows if row[:1] == ["GPU0"]), list[str]())
    columns = [name for name in header if re.fullmatch(r"GPU\d+", name)]
    links: dict[tuple[int, int], int] = {}
    for row in rows:
        if row[:1] and row[0] in columns and row is not header:
            cells = zip(columns, row[1:], strict=False)
            links |= {(_number(row[0]), _number(other)): _speed(cell) for other, cell in cells}
    return links


def visible(gpus: Sequence[Gpu], cuda_visible_devices: str | None) -> list[Gpu]:
    """The devices that CUDA_VISIBLE_DEVICES leaves, in its order; all if it is not set.

    Raises:
        ConfigError: If it names one that is not there.
    """
    if cuda_visible_devices is None:
        return list(gpus)
    names = [name.strip() for name in cuda_visible_devices.split(",") if name.strip()]
    return [_named(name, gpus) for name in names]


def device_groups(gpus: Sequence[Gpu], tp_size: int, links: Links) -> str:
    """The setting `devices` for these GPUs, such as `0,1;2,3`.

    Raises:
        ConfigError: If there are none, or they make no groups of `tp_size`.
    """
    if not gpus:
        msg = "setting devices: `auto` found no NVIDIA GPU; name them, or leave out --devices"
        raise ConfigError(msg)
    if tp_size > 1 and any(gpu.is_part for gpu in gpus):
        msg = (
            f"setting tp_size: {tp_size} GPUs cannot share a model where GPUs are in parts (MIG); "
            "set it to 1, or name whole GPUs with --devices"
        )
        raise ConfigError(msg)
    if len(gpus) % tp_size:
        names = ", ".join(gpu.name for gpu in gpus)
        example = ",".join(gpu.name for gpu in gpus[:tp_size])
        msg = (
            f"setting tp_size: {len(gpus)} GPUs ({names}) make no groups of {tp_size}; name those "
            f"to use, such as --devices '{example}', or set another --tp-size"
        )
        raise ConfigError(msg)
    groups = _groups(gpus, tp_size, links)
    return ";".join(",".join(gpu.name for gpu in group) for group in groups)


def _groups(gpus: Sequence[Gpu], tp_size: int, links: Links) -> list[tuple[Gpu, ...]]:
    if tp_size == 1 or len(gpus) > _MOST_CHOICES:
        return [tuple(gpus[at : at + tp_size]) for at in range(0, len(gpus), tp_size)]
    left: list[Gpu] = list(gpus)
    groups: list[tuple[Gpu, ...]] = []
    while left:
        # Of equals the first is taken, which is the one of the lowest numbers.
        best = max(combinations(left, tp_size), key=_closeness(links))
        groups.append(best)
        left = [gpu for gpu in left if gpu not in best]
    return sorted(groups, key=lambda group: gpus.index(group[0]))


def _closeness(links: Links) -> Callable[[Sequence[Gpu]], tuple[int, int]]:
    """The slowest link of a group, and then all of them together."""

    def of(group: Sequence[Gpu]) -> tuple[int, int]:
        pairs = combinations(group, 2)
        speeds = [links.get((one.number, two.number), _UNKNOWN_LINK) for one, two in pairs]
        return min(speeds), sum(speeds)

    return of


def _number(name: str) -> int:
    return int(name.removeprefix("GPU"))


def _speed(link: str) -> int:
    if link.startswith("NV") and link[2:].isdigit():
        return len(_LINKS) + int(link[2:])
    return _LINKS.index(link) if link in _LINKS else _UNKNOWN_LINK


def _named(name: str, gpus: Sequence[Gpu]) -> Gpu:
    """By number, or by the beginning of a UUID that only one has."""
    whole = [gpu for gpu in gpus if str(gpu.number) == name]
    found = whole or [gpu for gpu in gpus if gpu.uuid.startswith(name)]
    if len(found) != 1:
        there = ", ".join(f"{gpu.number} ({gpu.uuid})" for gpu in gpus) or "none"
        msg = f"CUDA_VISIBLE_DEVICES names {name}, which is not one of the GPUs here: {there}"
        raise ConfigError(msg)
    return found[0]
