"""Instances that turn slow, join and die while a workload is replayed."""

import msgspec
import pytest

from preble.config import Binding, PolicyName
from preble.errors import ConfigError
from preble.messages import pack_keys
from preble.simulator.changes import Change, first_instances, parse_changes
from preble.simulator.outcome import PoolSettings, Replayed
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import TimedRequest, Workload

BLOCK = 16


def request(at_s: float, *keys: int, output_tokens: int = 5) -> TimedRequest:
    return TimedRequest(at_s, len(keys) * BLOCK + 1, output_tokens, pack_keys(keys))


def replayed(
    *requests: TimedRequest, changes: str = "", speeds: tuple[float, ...] = (1.0, 1.0),
    policy: PolicyName = "least_outstanding", binding: Binding = "eager", detect_s: float = 10.0,
) -> Replayed:  # fmt: skip
    engine = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=10_000)
    pool = PoolSettings(
        policy=policy, engine=engine, speeds=speeds, event_delay_s=0.0,
        binding=binding, changes=parse_changes(changes), detect_s=detect_s,
    )  # fmt: skip
    return replay(Workload("few", BLOCK, requests), pool)


def instances(outcome: Replayed) -> list[int]:
    return [one.instance for one in outcome.served]


def test_changes_are_written_in_short() -> None:
    assert parse_changes("slow@60:0x2, die@1.5:3,join@9:12") == (
        Change(60.0, 0, "slow", 2.0), Change(1.5, 3, "die"), Change(9.0, 12, "join"),
    )  # fmt: skip
    assert parse_changes("") == ()


@pytest.mark.parametrize(
    "text", ["slow@1:0", "die@1:0x2", "die@1", "die@-1:0", "stop@1:0", "die@1.2.3:0", "die@1:0,,"]
)
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no change|a number that is none"):
        parse_changes(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("die@1:2", "not possible with 2 instances"),
        ("slow@1:0x0", "not possible with 2 instances"),
        ("die@1:0,die@2:0", "instance 0 must die before it joins"),
        ("join@1:1,join@2:1", "instance 1 must die before it joins"),
        ("die@1:0,die@2:1", "no instance is left"),
    ],
)
def test_changes_that_make_no_sense_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        first_instances(parse_changes(text), 2)


def test_who_is_there_from_the_start() -> None:
    changes = parse_changes("join@5:0,die@3:1,join@9:1,slow@1:2x2")
    assert first_instances(changes, 3) == [1, 2]


def test_a_slow_instance_takes_so_many_times_as_long_from_then_on() -> None:
    requests = request(0, 1), request(20, 2), request(40, 3)
    before, slow, after = replayed(
        *requests, changes="slow@10:0x3,slow@30:0x1", speeds=(1.0,)
    ).served
    assert slow.latency_s == pytest.approx(3 * before.latency_s)
    assert after.latency_s == pytest.approx(before.latency_s)


def test_what_runs_as_an_instance_turns_slow_goes_on_slowly() -> None:
    """About half of the tokens at full speed, half at half of it."""
    one = request(0, 1, output_tokens=1000)
    (alone,) = replayed(one, speeds=(1.0,)).served
    half_s = alone.latency_s / 2
    (slowed,) = replayed(one, changes=f"slow@{half_s}:0x2", speeds=(1.0,)).served
    assert slowed.latency_s == pytest.approx(3 * half_s, rel=0.01)


def test_an_instance_that_joins_gets_work_from_then_on_only() -> None:
    requests = [request(n / 10, n + 1, output_tokens=400) for n in range(6)]
    outcome = replayed(*requests, changes="join@0.25:1")
    assert instances(outcome) == [0, 0, 0, 1, 1, 1]


def test_requests_of_a_dead_engine_end_elsewhere_after_the_lease() -> None:
    """Its work begins anew and its latency counts from its arrival."""
    one = request(0, 1, 2, 3, output_tokens=200)
    (alone,) = replayed(one).served
    outcome = replayed(one, changes="die@1:0", detect_s=5.0)
    (served,) = outcome.served
    assert served.instance == 1
    assert served.admitted_at_s == 6.0
    assert served.latency_s == pytest.approx(6.0 + alone.latency_s)
    assert [totals.lost_tokens for totals in outcome.instances] == [49, 0]
    assert outcome.instances[0].busy_s == pytest.approx(1.0)


def test_until_a_death_is_noticed_requests_go_there_and_come_back_in_order() -> None:
    requests = [request(n, n + 1) for n in range(1, 4)]
    outcome = replayed(*requests, changes="die@0:0,join@3.5:1", detect_s=4.0)
    assert instances(outcome) == [1, 1, 1]
    assert [one.admitted_at_s for one in outcome.served] == [4.0, 4.0, 4.0]


def test_who_comes_back_before_its_death_was_noticed_takes_what_was_queued() -> None:
    """What was in the engine waits for the lease all the same."""
    requests = request(0, 1, output_tokens=400), request(2, 2)
    first, second = replayed(
        *requests, changes="die@1:0,join@3:0", detect_s=10.0, speeds=(1.0,)
    ).served
    assert (first.admitted_at_s, second.admitted_at_s) == (11.0, 3.0)


def test_a_new_life_begins_with_an_empty_cache() -> None:
    requests = request(0, 1, 2, 3), request(5, 1, 2, 3), request(40, 1, 2, 3)
    _, warm, cold = replayed(*requests, changes="die@20:0,join@35:0,join@99:1").served
    assert warm.hit_tokens == 48
    assert cold.available_hit_tokens == cold.predicted_hit_tokens == cold.hit_tokens == 0


@pytest.mark.parametrize("binding", ["eager", "late"])
def test_no_request_is_lost_though_all_die_for_a_while(binding: Binding) -> None:
    """`replay` itself raises if a request or a token is."""
    requests = [request(n / 20, 1 + n % 5, 100 + n, output_tokens=30) for n in range(200)]
    changes = "die@2:0,die@3:1,join@30:0,slow@31:0x2,join@33:1,die@35:0"
    outcome = replayed(*requests, changes=changes, detect_s=2.0, policy="e2", binding=binding)
    assert len(outcome.served) == 200
    assert sum(totals.lost_tokens for totals in outcome.instances) > 0


def test_nobody_is_told_apart_by_what_happens_later() -> None:
    """A change after the last end alters nothing."""
    requests = [request(n / 10, n % 3, 10 + n) for n in range(20)]
    plain, changed = replayed(*requests), replayed(*requests, changes="die@900:0")
    assert msgspec.json.encode(plain.served) == msgspec.json.encode(changed.served)
