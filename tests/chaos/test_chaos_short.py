"""The chaos suite in short: a fixed seed, few jobs, each kind of scenario once.

The long runs are `make chaos`; docs/howto/chaos.md says how to read what they tell.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from chaos import faults_scenario, overload_scenario, poison_scenario, rolling_scenario
from chaos.outcome import Outcome, report
from chaos.wanted import Wanted

from preble.messages import JobState
from preble.serve.embedded_redis import valkey_binary

pytestmark = [pytest.mark.process, pytest.mark.anyio]

LIMIT_S = 120.0


def wanted(folder: Path, *, jobs: int, faults: int = 0, seconds: float = 0) -> Wanted:
    """Without what takes root."""
    return Wanted(
        folder, valkey_binary(), seed=1, jobs=jobs, faults=faults, seconds=seconds,
        timeout_s=LIMIT_S, with_all_means=False,
    )  # fmt: skip


async def well(scenario: Callable[[Wanted], Awaitable[Outcome]], run: Wanted) -> Outcome:
    """What came of it, once it is sure that all promises held."""
    outcome = await scenario(run)
    assert not outcome.offences, report(outcome)
    return outcome


async def test_nothing_is_lost_whatever_breaks(tmp_path: Path) -> None:
    outcome = await well(faults_scenario.run, wanted(tmp_path, jobs=1_500, faults=12))
    assert len(outcome.faults) == 12
    assert len(outcome.final.jobs) >= 1_500


async def test_poison_fails_alone(tmp_path: Path) -> None:
    outcome = await well(poison_scenario.run, wanted(tmp_path, jobs=300, faults=1))
    failed = [job for job in outcome.final.jobs.values() if job.state is JobState.FAILED]
    assert [job.attempt for job in failed] == [5]


async def test_every_process_restarts_under_load_and_nobody_notices(tmp_path: Path) -> None:
    outcome = await well(rolling_scenario.run, wanted(tmp_path, jobs=100_000, faults=3))
    assert max(job.attempt for job in outcome.final.jobs.values()) == 1


async def test_too_much_is_refused_and_what_was_taken_is_done(tmp_path: Path) -> None:
    outcome = await well(overload_scenario.run, wanted(tmp_path, jobs=0, seconds=6))
    assert {job.state for job in outcome.final.jobs.values()} == {JobState.COMPLETED}
