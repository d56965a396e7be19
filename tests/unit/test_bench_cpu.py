"""When the CPU counts as the limit of a benchmark."""

import os

import pytest

from preble.bench.cpu import CpuMeter, figures_of


@pytest.mark.parametrize(
    ("used", "idle", "expected"),
    [
        ({"api": 0.3, "worker": 1.0}, 0.5, False),
        ({"api": 0.3, "worker": 1.0}, 0.1, True),
        ({"scheduler": 0.95}, 1.0, True),
        ({"worker": 1.4}, 0.6, False),
    ],
)
def test_a_full_machine_is_a_limit_and_so_is_a_process_at_its_one_core(
    used: dict[str, float], idle: float, *, expected: bool
) -> None:
    """Workers are several processes: together they may use more than a core."""
    assert figures_of(used, idle=idle, cores=2).is_limit is expected


def test_what_is_busy_and_not_ours_is_of_others() -> None:
    assert figures_of({"api": 0.25}, idle=1.0, cores=2).used_by_others == 0.75


def test_the_client_is_this_process() -> None:
    meter = CpuMeter(os.getpid())
    assert sum(range(2_000_000))
    assert meter.figures().used["client"] > 0
