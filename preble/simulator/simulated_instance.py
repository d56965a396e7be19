"""An instance over its lives: the engine it has now, if any, and what its jobs wait for.

While there is no engine, jobs that are assigned all the same wait in the instance's own queue,
as they do in Redis: the next life takes them, unless the death is noticed first.
"""

from typing import Final

from preble.cost_model import CostModel, load_cost_model
from preble.messages import BlockEvent, EventBatch, InstanceId, InstanceRecord
from preble.simulator.instance_model import InstanceModel
from preble.simulator.outcome import InstanceTotals, PoolSettings
from preble.simulator.run import EngineSettings, Run

NAME: Final = "simulated"


class SimulatedInstance:
    """One of the pool, without an engine until its first life begins.

    Args:
        index: Its place in the pool.
        settings: Of its engines.
        cost_model: Predicts how long a step takes.
        block_size: Tokens in a block.
        speed: How many times faster than predicted it runs.
    """

    def __init__(
        self, index: int, settings: EngineSettings, cost_model: CostModel, *, block_size: int,
        speed: float,
    ) -> None:  # fmt: skip
        self.engine: InstanceModel | None = None
        self.lives = 0
        self._id = instance_id(index)
        self._settings = settings
        self._cost_model = cost_model
        self._block_size = block_size
        self._speed = self._slowed_speed = speed
        self._engines: list[InstanceModel] = []
        self._queue: list[Run] = []
        self._event_seq = 0
        self._lost_tokens = 0
        self._warm_up_busy_s = 0.0

    @property
    def record(self) -> InstanceRecord:
        """With which the present life, or the last, has registered."""
        settings = self._settings
        return InstanceRecord(
            self._id, f"{NAME}-{self.lives}", NAME, slots=settings.slots,
            kv_capacity_tokens=settings.kv_capacity_tokens, cost_model=settings.cost_model,
        )  # fmt: skip

    @property
    def num_waiting(self) -> int:
        """Requests in front of the engine."""
        return len(self._queue) + (self.engine.num_waiting if self.engine else 0)

    @property
    def num_running(self) -> int:
        """Requests in the engine's batch."""
        return self.engine.num_running if self.engine else 0

    def begin_life(self, now_s: float) -> None:
        """A new engine takes what waits in the queue."""
        self.lives += 1
        self._event_seq = 0
        self.engine = InstanceModel(
            self._settings, self._cost_model, block_size=self._block_size, speed=self._slowed_speed
        )
        self._engines.append(self.engine)
        for run in self.take_queue():
            self.engine.submit(run, now_s)

    def end_life(self, now_s: float) -> list[Run]:
        """The engine is lost. Returns: the requests in it, whose work is lost too."""
        lost = self.engine.die(now_s) if self.engine else []
        self.engine = None
        self._lost_tokens += sum(run.prefilled_tokens for run in lost)
        return lost

    def slow_down(self, factor: float, now_s: float) -> None:
        """Take so many times as long as the speed says."""
        self._slowed_speed = self._speed / factor
        if self.engine:
            self.engine.change_speed(self._slowed_speed, now_s)

    def submit(self, run: Run, now_s: float) -> None:
        """A request is assigned here."""
        if self.engine:
            self.engine.submit(run, now_s)
        else:
            self._queue.append(run)

    def take_queue(self) -> list[Run]:
        """Take out the requests that wait for a life."""
        taken, self._queue = self._queue, []
        return taken

    def batch_of(self, events: tuple[BlockEvent, ...]) -> EventBatch:
        """Block events as the scheduler hears of them. Changes: counts the batch."""
        self._event_seq += 1
        record = self.record
        return EventBatch(record.instance_id, record.epoch, self._event_seq, events)

    def end_warm_up(self, now_s: float) -> None:
        """What it does from now on is measured."""
        self._warm_up_busy_s = sum(engine.busy_until(now_s) for engine in self._engines)

    def totals(self) -> InstanceTotals:
        """What it did in all its lives."""
        busy_s = sum(engine.busy_s for engine in self._engines)
        return InstanceTotals(
            busy_s=busy_s,
            prefilled_tokens=sum(engine.prefilled_tokens for engine in self._engines),
            evicted_blocks=sum(engine.kv.evicted_blocks for engine in self._engines),
            retractions=sum(engine.retractions for engine in self._engines),
            measured_busy_s=busy_s - self._warm_up_busy_s,
            lost_tokens=self._lost_tokens,
        )


def simulated_instances(settings: PoolSettings, block_size: int) -> list[SimulatedInstance]:
    """All of a pool, in order. Raises: ConfigError."""
    engine, cost_model = settings.engine, load_cost_model(settings.engine.cost_model)
    return [
        SimulatedInstance(index, engine, cost_model, block_size=block_size, speed=speed)
        for index, speed in enumerate(settings.speeds)
    ]


def instance_id(index: int) -> InstanceId:
    """In the order of the numbers, for a thousand instances."""
    return InstanceId(f"gpu{index:03}")


def index_of(name: InstanceId) -> int:
    """The place of an instance in the pool."""
    return int(name.removeprefix("gpu"))
