"""A pool across three hosts, each role with its own account of Redis; one host is cut off."""

from pathlib import Path

import pytest
from chaos.hosts import cut_and_heal, hosts, why_not

pytestmark = pytest.mark.process


WHY_NOT = why_not()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "there are hosts")
def test_a_host_that_is_cut_off_and_healed_costs_no_job_and_serves_again(tmp_path: Path) -> None:
    with hosts(tmp_path) as running:
        counts = cut_and_heal(running, 4)
        assert (counts.lost, counts.duplicated) == (0, 0)
        assert counts.refused_late > 0
        assert "NOPERM" not in "".join(running.pool.log(name) for name in running.pool.processes)
