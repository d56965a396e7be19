"""The explorations: what each is about, and how far it goes. Together they are what CI proves."""

from typing import Final

from model.rules import Rules
from model.steps import Setup

QUARANTINE: Final = Rules()
NEVER_ALONE: Final = Rules(quarantine_after=0, max_attempts=2)
"""Where quarantine is not the subject: fewer attempts, fewer states."""
SOON_ALONE: Final = Rules(quarantine_after=1, max_attempts=3)
"""Where much else may happen: the same turns, one death earlier."""

CRASHES: Final = Setup("crashes", lives=2)
LATE_COPIES: Final = Setup("late copies", faults=2, repeats_late=True)
LATE_POISON: Final = Setup(
    "late copies, poison", poison=1, faults=2, repeats_late=True, drains=False
)
LEADERS: Final = Setup("two schedulers", schedulers=2, faults=3, drains=False)
POISON: Final = Setup("poison", poison=1, faults=2, drains=False)
DRAINS: Final = Setup("poison and drains", poison=1, faults=1)
OLD_AND_NEW: Final = Setup("poison, two lives", poison=1, lives=2, faults=1, drains=False)
BATCH: Final = Setup("poison in a batch", innocent=2, poison=1, faults=0, drains=False)
ELSEWHERE: Final = Setup("two instances", poison=1, instances=2, faults=0, drains=False)
CANCELS: Final = Setup("cancelled", poison=1, faults=0, admits=True, cancels=True, drains=False)
DRAINED: Final = Setup(
    "drained", instances=2, schedulers=1, faults=1, drains=False, takes_out=True
)  # fmt: skip
FAILOVER: Final = Setup("failover", lost_writes=2, admits=True)

SETUPS: Final = (
    (CRASHES, QUARANTINE), (LATE_COPIES, QUARANTINE), (LATE_POISON, SOON_ALONE),
    (LEADERS, NEVER_ALONE), (POISON, QUARANTINE), (DRAINS, SOON_ALONE),
    (OLD_AND_NEW, SOON_ALONE), (BATCH, QUARANTINE), (ELSEWHERE, QUARANTINE),
    (CANCELS, QUARANTINE), (DRAINED, NEVER_ALONE), (FAILOVER, NEVER_ALONE),
)  # fmt: skip
