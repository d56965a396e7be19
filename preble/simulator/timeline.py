"""How full the instances were: looked at in regular intervals, if at all."""

from collections.abc import Sequence

from preble.simulator.outcome import TimelineSample
from preble.simulator.simulated_instance import SimulatedInstance


class Timeline:
    """Samples of a pool.

    Args:
        instances: Looked at.
        interval_s: Seconds between samples; None for none.
    """

    def __init__(self, instances: Sequence[SimulatedInstance], interval_s: float | None) -> None:
        self.samples: list[TimelineSample] = []
        self._instances = instances
        self._interval_s = interval_s

    def sample_until(self, at_s: float) -> None:
        """Take the samples that were due before; nothing has changed since the last."""
        while self._interval_s and len(self.samples) * self._interval_s < at_s:
            waiting = tuple(instance.num_waiting for instance in self._instances)
            running = tuple(instance.num_running for instance in self._instances)
            due_s = len(self.samples) * self._interval_s
            self.samples.append(TimelineSample(due_s, waiting, running))
