"""Where requests wait in the simulator: queues, windows, and who goes first."""

from preble.config import Priority
from preble.messages import pack_keys
from preble.simulator.ingress import Ingress
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings
from preble.simulator.workload import TimedRequest


def ingress(window_jobs: int = 64, batch_window_jobs: int = 256) -> Ingress:
    engine = EngineSettings(cost_model="m", kv_capacity_tokens=9)
    settings = PoolSettings(
        policy="e2", engine=engine, speeds=(1.0,), window_jobs=window_jobs,
        batch_window_jobs=batch_window_jobs,
    )  # fmt: skip
    return Ingress(settings, max_new_tokens=7)


def request(at_s: float = 0.0, *, tenant: str = "", priority: Priority = "normal") -> TimedRequest:
    return TimedRequest(at_s, 5, 1, pack_keys(()), tenant=tenant, priority=priority)


def numbers(waiting: Ingress, now_s: float = 0.0) -> list[int]:
    return [int(job.job_id) for job in waiting.windows(now_s)]


def test_queues_stand_in_the_order_of_their_names_and_each_is_first_come_first_served() -> None:
    waiting = ingress()
    waiting.add(0, request(tenant="b"))
    waiting.add(1, request(tenant="a"))
    waiting.add(2, request(tenant="b", priority="high"))
    waiting.add(3, request(tenant="a"))
    waiting.add(4, request(tenant="z", priority="batch"))
    assert numbers(waiting) == [4, 2, 1, 3, 0]
    assert [int(job.job_id) for job in waiting] == [4, 2, 1, 3, 0]


def test_each_queue_has_a_window_and_those_of_batches_one_of_their_own() -> None:
    waiting = ingress(window_jobs=1, batch_window_jobs=2)
    classes: tuple[Priority, ...] = ("normal", "normal", "high", "batch", "batch", "batch")
    inside = [
        waiting.add(number, request(priority=priority)) for number, priority in enumerate(classes)
    ]
    assert numbers(waiting) == [3, 4, 2, 0]
    assert inside == [True, False, True, True, True, False]
    assert len(waiting) == 6


def test_a_job_says_whose_it_is_and_how_long_it_has_waited() -> None:
    waiting = ingress()
    waiting.add(0, request(2.0))
    waiting.add(1, request(3.0, tenant="t", priority="high"))
    first, second = waiting.windows(5.0)
    assert (first.waited_s, first.spec.tenant, first.spec.priority) == (2.0, "t", "high")
    assert (second.waited_s, second.spec.tenant, second.spec.priority) == (3.0, "default", "normal")
    assert first.spec.sampling.max_new_tokens == 7


def test_what_comes_back_waits_first_and_still_counts_from_its_arrival() -> None:
    waiting = ingress()
    for number in range(3):
        waiting.add(number, request(float(number)))
    waiting.remove(0, request())
    waiting.put_back(0, request(0.0))
    assert numbers(waiting) == [0, 1, 2]
    assert waiting.windows(9.0)[0].waited_s == 9.0


def test_what_was_assigned_waits_no_more() -> None:
    waiting = ingress()
    waiting.add(0, request())
    waiting.remove(0, request())
    assert (len(waiting), numbers(waiting)) == (0, [])
