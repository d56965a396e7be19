"""From a policy's choice to the decision record that is stored with the job."""

from typing import Final

import numpy as np
from msgspec.structs import astuple

from preble.messages import Assignment, Weighing
from preble.policy import Choice, Options

MAX_CANDIDATES: Final = 16
"""In a decision record: those of least cost, the chosen one always."""


def assignment_of(options: Options, choice: Choice, *, policy: str) -> Assignment:
    """The record of a choice that is final."""
    row, hits = choice.row, options.hits
    chosen = options.fleet.rows[row]
    resident = options.fleet.resident_tokens(options.match, chosen, options.prompt_tokens)
    return Assignment(
        job_id=options.job_id,
        instance_id=chosen.record.instance_id,
        policy=policy,
        reason=choice.reason,
        resident_hit_tokens=resident,
        expected_hit_tokens=hits[row] - resident,
        available_hit_tokens=max(hits),
        prefill_s=float(options.prefill_s[row]),
        weighed=_weighing(options, choice),
    )


def _weighing(options: Options, choice: Choice) -> Weighing:
    """What was weighed: all instances, or those of least cost where there are many."""
    everything = Weighing(
        options.fleet.ids, options.hits, options.load_s.tolist(), options.prefill_s.tolist(),
        [] if options.eviction_s is None else options.eviction_s.tolist(),
        options.fleet.num_placed, [] if choice.cost is None else choice.cost.tolist(),
    )  # fmt: skip
    if len(options) <= MAX_CANDIDATES:
        return everything
    rows = _recorded_rows(choice)
    return Weighing(*([each[row] for row in rows] if each else [] for each in astuple(everything)))


def _recorded_rows(choice: Choice) -> list[int]:
    if choice.cost is None:
        least = list(range(MAX_CANDIDATES))
    else:
        least = np.argpartition(choice.cost, MAX_CANDIDATES)[:MAX_CANDIDATES].tolist()
    if choice.row not in least:
        least[-1] = choice.row
    return sorted(least)
