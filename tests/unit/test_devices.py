"""Which GPUs each worker gets, by what `nvidia-smi` prints."""

from pathlib import Path

import pytest

from preble.config import Settings
from preble.errors import ConfigError
from preble.serve.devices import Gpu, device_groups, read_links, read_listing, visible
from preble.serve.discovery import with_devices
from preble.serve.plan import worker_settings

LISTING = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-6c0a5e5e-9f1d-0a53-8b43-000000000000)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-7d1b6f6f-9f1d-0a53-8b43-000000000001)
"""
PARTS = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-7d1b6f6f-9f1d-0a53-8b43-000000000001)
"""
PAIRS = """\
        GPU0    GPU1    GPU2    GPU3    GPU4    CPU Affinity    NUMA Affinity   GPU NUMA ID
GPU0     X      SYS     SYS     SYS     SYS     8-15,24-31      1               N/A
GPU1    SYS      X      PHB     NODE    NODE    0-7,16-23       0               N/A
GPU2    SYS     PHB      X      NODE    NODE    0-7,16-23       0               N/A
GPU3    SYS     NODE    NODE     X      PHB     0-7,16-23       0               N/A
GPU4    SYS     NODE    NODE    PHB      X      0-7,16-23       0               N/A

Legend:

  X    = Self
  NV#  = Connection traversing a bonded set of # NVLinks
"""
NVLINKS = (
    "\t\x1b[4mGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m\n"
    "GPU0\t X \tNV4\tNV12\tSYS\tPIX\t0-31\t0\t\tN/A\n"
    "GPU1\tNV4\t X \tSYS\tNV12\tPIX\t0-31\t0\t\tN/A\n"
    "GPU2\tNV12\tSYS\t X \tNV4\tSYS\t32-63\t1\t\tN/A\n"
    "GPU3\tSYS\tNV12\tNV4\t X \tSYS\t32-63\t1\t\tN/A\n"
    "NIC0\tPIX\tPIX\tSYS\tSYS\t X \n"
)


def gpus(*numbers: int) -> list[Gpu]:
    return [Gpu(number, f"GPU-{number}") for number in numbers]


def test_gpus_are_listed_with_their_numbers() -> None:
    assert [(gpu.name, gpu.uuid[:8]) for gpu in read_listing(LISTING)] == [
        ("0", "GPU-6c0a"), ("1", "GPU-7d1b"),
    ]  # fmt: skip


def test_of_a_gpu_in_parts_the_parts_are_listed_by_their_uuids() -> None:
    assert [gpu.name for gpu in read_listing(PARTS)] == [
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb", "1",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "No devices found.\n", "NVIDIA-SMI has failed\n"])
def test_other_output_lists_none(text: str) -> None:
    assert read_listing(text) == []
    assert read_links(text) == {}


@pytest.mark.parametrize(
    ("told", "left"),
    [(None, ["0", "1"]), ("", []), ("1", ["1"]), ("1, 0", ["1", "0"]), ("GPU-7d", ["1"])],
)
def test_cuda_visible_devices_bounds_and_orders(told: str | None, left: list[str]) -> None:
    assert [gpu.name for gpu in visible(read_listing(LISTING), told)] == left


def test_a_part_may_be_named_by_its_uuid() -> None:
    (part,) = visible(read_listing(PARTS), "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb")
    assert part.is_part


@pytest.mark.parametrize("told", ["7", "GPU-", "GPU-ffff", "0,x"])
def test_a_device_that_is_not_there_is_told_with_those_that_are(told: str) -> None:
    with pytest.raises(ConfigError, match=r"CUDA_VISIBLE_DEVICES names .*: 0 \(GPU-6c0a"):
        visible(read_listing(LISTING), told)


def test_without_links_groups_follow_the_numbers() -> None:
    assert device_groups(gpus(0, 1, 2, 3), 1, {}) == "0;1;2;3"
    assert device_groups(gpus(0, 1, 2, 3), 2, {}) == "0,1;2,3"
    assert device_groups(gpus(*range(32)), 8, {}).split(";")[1] == "8,9,10,11,12,13,14,15"


def test_groups_have_the_fastest_links() -> None:
    assert device_groups(gpus(0, 1, 2, 3), 2, read_links(NVLINKS)) == "0,2;1,3"
    assert device_groups(gpus(1, 2, 3, 4), 2, read_links(PAIRS)) == "1,2;3,4"
    assert device_groups(gpus(1, 3, 2, 4), 2, read_links(PAIRS)) == "1,2;3,4"
    assert device_groups(gpus(0, 1, 2, 3, 4)[:4], 4, read_links(PAIRS)) == "0,1,2,3"


def test_a_slow_link_within_a_group_outweighs_fast_ones() -> None:
    """Of six GPUs in two islands of three, no group crosses."""
    islands = ({0, 2, 4}, {1, 3, 5})
    links = {
        (one, other): 10 if any({one, other} <= island for island in islands) else 0
        for one in range(6)
        for other in range(6)
    }
    assert device_groups(gpus(*range(6)), 3, links) == "0,2,4;1,3,5"


@pytest.mark.parametrize(
    ("found", "tp_size", "message"),
    [
        ([], 1, "found no NVIDIA GPU; name them, or leave out --devices"),
        (gpus(0, 1, 2), 2, r"3 GPUs \(0, 1, 2\) make no groups of 2; .* --devices '0,1', or"),
        (gpus(0), 2, r"1 GPUs \(0\) make no groups of 2"),
        (read_listing(PARTS), 3, r"in parts \(MIG\); set it to 1"),
    ],
)
def test_what_makes_no_groups_is_refused_with_what_to_do(
    found: list[Gpu], tp_size: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        device_groups(found, tp_size, {})


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where alone programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put_nvidia_smi(folder: Path, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_auto_asks_nvidia_smi_and_gives_each_worker_its_group(tools: Path) -> None:
    (tools / "listing").write_text(
        "".join(f"GPU {number}: X (UUID: GPU-{number})\n" for number in range(5))
    )
    (tools / "matrix").write_text(PAIRS)
    put_nvidia_smi(
        tools,
        f'while read -r line; do echo "$line"; done < {tools}/$([ $1 = -L ] && echo listing'
        " || echo matrix)",
    )
    settings = Settings(devices="auto", tp_size=2)
    found = with_devices(settings, {"CUDA_VISIBLE_DEVICES": "1,3,2,4"}, on_gpus=True)
    assert [worker.gpu for worker in worker_settings(found)] == ["1,2", "3,4"]


def test_where_links_cannot_be_told_numbers_decide(tools: Path) -> None:
    put_nvidia_smi(
        tools, '[ $1 = -L ] || exit 9\necho "GPU 0: X (UUID: GPU-0)\nGPU 1: X (UUID: GPU-1)"'
    )
    assert with_devices(Settings(devices="auto", tp_size=2), {}, on_gpus=True).devices == "0,1"


def test_without_nvidia_smi_it_says_what_to_name(tools: Path) -> None:
    assert tools
    with pytest.raises(ConfigError, match="nvidia-smi, which is not installed; name the GPUs"):
        with_devices(Settings(devices="auto"), {}, on_gpus=True)


def test_why_nvidia_smi_failed_is_told(tools: Path) -> None:
    put_nvidia_smi(tools, "echo 'NVIDIA-SMI has failed: no driver'; exit 9")
    with pytest.raises(ConfigError, match="nvidia-smi failed: NVIDIA-SMI has failed: no driver"):
        with_devices(Settings(devices="auto"), {}, on_gpus=True)


def test_named_devices_are_taken_as_they_are() -> None:
    settings = Settings(devices="0,1;2,3", tp_size=2)
    assert with_devices(settings, {"CUDA_VISIBLE_DEVICES": "7"}, on_gpus=True) is settings


def test_engines_on_gpus_get_one_each_where_none_is_named(tools: Path) -> None:
    put_nvidia_smi(tools, 'echo "GPU 0: X (UUID: GPU-0)\nGPU 1: X (UUID: GPU-1)"')
    found = with_devices(Settings(workers=4), {}, on_gpus=True)
    assert [worker.gpu for worker in worker_settings(found)] == ["0", "1"]


def test_others_need_no_gpu(tools: Path) -> None:
    assert tools  # no nvidia-smi
    settings = Settings(engine="emulated", workers=3)
    assert with_devices(settings, {}, on_gpus=False) is settings
    assert len(worker_settings(settings)) == 3
