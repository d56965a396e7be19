"""When a child that ended may start again. Pure: no clock, no process."""

from typing import Final

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 15.0
SETTLED_S: Final = 60.0
"""A life this long clears the record: the next death counts as the first."""

CONFIG_EXIT: Final = 2
"""Exit status of a process that was told something wrong; starting it again cannot help."""


def count_failure(failures: int, *, lived_s: float) -> int:
    """Failures in a row after one more life of `lived_s` seconds."""
    return 1 if lived_s >= SETTLED_S else failures + 1


def restart_delay_s(failures: int) -> float:
    """Seconds to wait before the next life: doubled for each failure in a row, capped.

    Args:
        failures: Failures in a row, at least 1.
    """
    # The exponent is capped too, for a child may fail all night.
    return min(FIRST_DELAY_S * 2.0 ** min(failures - 1, 16), LONGEST_DELAY_S)


def may_restart(exit_code: int) -> bool:
    """Whether another life could go better than the last."""
    return exit_code != CONFIG_EXIT
