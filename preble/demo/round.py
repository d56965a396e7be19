"""One round: the prompts arrive as from users who each wait for an answer before asking on."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from preble.client import Client, Job, JobFields

NUM_USERS: Final = 16
"""Jobs under way at once."""

WAVE_JOBS: Final = 8
"""Jobs submitted in one call."""


def run_round(
    client: Client, jobs: Sequence[JobFields], on_progress: Callable[[int], None]
) -> tuple[list[Job], float]:
    """Submit all jobs in waves, never more than `NUM_USERS` under way, and await them.

    Args:
        client: Of the api to use.
        jobs: In the order of sending.
        on_progress: Told how many have ended.

    Returns:
        The jobs as they ended, in the order of sending, and the seconds it took.

    Raises:
        PrebleError: As `Client.submit` and `JobWatch.look`.
    """
    began_s = time.monotonic()
    ids: list[str] = []
    ended: dict[str, Job] = {}
    with client.watch() as watch:
        while len(ended) < len(jobs):
            while len(ids) < len(jobs) and watch.num_open + WAVE_JOBS <= NUM_USERS:
                wave = client.submit(jobs[len(ids) : len(ids) + WAVE_JOBS])
                ids += wave
                watch.add(wave)
            ended.update((job.id, job) for job in watch.look())
            on_progress(len(ended))
    return [ended[job_id] for job_id in ids], time.monotonic() - began_s
