"""What is believed of all instances: lives, expected blocks, speed, and how much is remembered."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_support import GPU0, GPU1, GPU2, ONE_MS_A_TOKEN, WINDOW_S, Stage, costs_ms, keys_of

from preble.cost_model import load_cost_model
from preble.fleet import Fleet, columns
from preble.instance import PlacedRequest
from preble.messages import InstanceId, InstanceRecord, JobId

SLOW_S, QUICK_S = 0.008, 0.002
"""Of a decode step; the cost model says 1 ms of each."""


def available_tokens(stage: Stage, prompt: str, now_s: float = 0.0) -> int:
    """Hit tokens of a prompt, asked by a job that is taken back."""
    assignment = stage.assign(prompt, name="probe", now_s=now_s)
    stage.scheduler.forget(assignment.job_id)
    return assignment.available_hit_tokens


def decode(stage: Stage, instance: InstanceId, step_s: float, *, times: int) -> None:
    """Jobs come and end, one after another, with so long a step."""
    for _ in range(times):
        job = stage.put(instance, "", extra_tokens=10)
        stage.end(job, instance, output_tokens=11, decode_s=10 * step_s)


# Lives.


def test_rows_follow_the_ids_whoever_comes_and_goes() -> None:
    stage = Stage(instances=0)
    for number in (2, 0, 1):
        instance = InstanceId(f"gpu{number}")
        stage.join(instance)
        stage.store(instance, "S" * (number + 1))
        stage.load(instance, 100 * (number + 1))
    weighed = stage.assign("SSSS", name="probe").weighed
    assert weighed.instance_ids == ["gpu0", "gpu1", "gpu2"]
    assert weighed.hit_tokens == [10, 20, 30]
    stage.scheduler.leave(GPU1)
    weighed = stage.assign("SSSS", name="probe").weighed
    assert weighed.instance_ids == ["gpu0", "gpu2"]
    assert weighed.hit_tokens == [10, 30]
    assert weighed.outstanding == [1, 1]
    stage.join(GPU1)
    assert costs_ms(stage.assign("SSSS", name="probe"))["gpu1"] == (0, 0, 40)


def test_another_life_forgets_the_cache_and_the_past_and_keeps_the_jobs() -> None:
    stage = Stage(instances=1, capacity_blocks=8)
    stage.store(GPU0, "SSSS")
    job = stage.put(GPU0, "SSSSu")
    stage.join(GPU0, epoch="e2", capacity_blocks=4)
    assert stage.scheduler.cached_blocks == 0
    assignment = stage.assign("SSSSu", name="probe")
    assert costs_ms(assignment)["gpu0"] == (0, 0, 1)
    assert assignment.weighed.outstanding == [1]
    assert (assignment.resident_hit_tokens, assignment.expected_hit_tokens) == (0, 49)
    stage.scheduler.forget(assignment.job_id)
    stage.end(job, GPU0, output_tokens=5)
    assert available_tokens(stage, "SSSSu") == 0


def test_an_instance_that_takes_the_place_of_another_inherits_nothing() -> None:
    stage = Stage()
    stage.store(GPU1, "SSSS")
    stage.put(GPU1, "TTTT")
    stage.scheduler.leave(GPU1)
    stage.join(GPU2)
    for prompt in ("SSSS", "TTTT"):
        assert available_tokens(stage, prompt) == 0
    assert stage.assign("u").weighed.outstanding == [0, 0]


# Expected blocks.


@pytest.mark.parametrize("parts", [("SSSS",), ("SS", "SSSS")])
def test_expected_blocks_end_when_the_last_one_is_stored(parts: tuple[str, ...]) -> None:
    """Then they are resident; and when they are evicted, nobody expects them."""
    stage = Stage(instances=1)
    stage.put(GPU0, "SSSS")
    assert available_tokens(stage, "SSSSu") == 40
    after = ""
    for part in parts:
        stage.store(GPU0, part, after=after)
        after = part
    assert available_tokens(stage, "SSSSu") == 40
    stage.clear(GPU0)
    assert available_tokens(stage, "SSSSu") == 0


def test_blocks_are_expected_while_only_part_of_them_is_stored() -> None:
    stage = Stage(instances=1)
    stage.put(GPU0, "SSSS")
    stage.store(GPU0, "SSS")
    stage.clear(GPU0)
    assert available_tokens(stage, "SSSSu") == 40


def test_blocks_stored_by_another_instance_are_still_expected() -> None:
    stage = Stage()
    stage.put(GPU0, "SSSS")
    stage.store(GPU1, "SSSS")
    assert stage.assign("SSSSu").weighed.hit_tokens == [40, 40]


@pytest.mark.parametrize(("now_s", "hit_tokens"), [(1.19, 40), (1.2, 0)])
def test_blocks_are_expected_for_twice_the_predicted_time_and_a_second(
    now_s: float, hit_tokens: int
) -> None:
    """60 ms of a job before it and 40 of its own: 2 * 0.1 + 1."""
    stage = Stage(instances=1)
    stage.put(GPU0, "TTTTTT")
    stage.put(GPU0, "SSSS")
    assert available_tokens(stage, "SSSSu", now_s) == hit_tokens


def test_a_job_that_is_placed_anew_is_expected_anew() -> None:
    stage = Stage(instances=1)
    stage.assign("SSSS", name="a", now_s=0)
    stage.scheduler.forget(JobId("a"))
    stage.assign("SSSS", name="a", now_s=1)
    assert available_tokens(stage, "SSSSu", now_s=1.5) == 40


def test_a_prompt_of_two_jobs_is_expected_until_both_are_gone() -> None:
    stage = Stage(instances=1)
    jobs = [stage.put(GPU0, "SSSS") for _ in range(2)]
    stage.end(jobs[0], GPU0)
    assert available_tokens(stage, "SSSSu") == 40
    stage.scheduler.forget(jobs[1])
    assert available_tokens(stage, "SSSSu") == 0


# Speed.


def test_predictions_are_corrected_for_an_instance_that_is_slower_than_the_others() -> None:
    """All take longer than the model says; gpu2's steps are 4 times the others'."""
    stage = Stage(instances=3)
    for instance, step_s in ((GPU0, QUICK_S), (GPU1, QUICK_S), (GPU2, SLOW_S)):
        decode(stage, instance, step_s, times=8)
    prefills_ms = [cost[2] for cost in costs_ms(stage.assign("u" * 10)).values()]
    assert prefills_ms == [100, 100, 400]


def test_an_instance_where_jobs_wait_does_not_look_quick() -> None:
    """Only what decodes is in a step: 7 jobs that wait do not make gpu2's 8 times as dear."""
    stage = Stage(instances=3)
    for number in range(7):
        stage.put(GPU2, chr(ord("a") + number) * 4)
    for instance in (GPU0, GPU1, GPU2):
        decode(stage, instance, QUICK_S, times=8)
    assert [cost[2] for cost in costs_ms(stage.assign("u" * 10)).values()] == [100] * 3


def test_a_slow_fleet_is_not_corrected() -> None:
    stage = Stage(instances=2)
    for instance in (GPU0, GPU1):
        decode(stage, instance, SLOW_S, times=8)
    assert [cost[2] for cost in costs_ms(stage.assign("u" * 10)).values()] == [100, 100]


def test_a_few_jobs_say_nothing_of_an_instances_speed() -> None:
    stage = Stage(instances=3)
    decode(stage, GPU2, SLOW_S, times=7)
    assert [cost[2] for cost in costs_ms(stage.assign("u" * 10)).values()] == [100] * 3


def test_short_outputs_and_failures_teach_no_speed() -> None:
    stage = Stage(instances=3)
    for output_tokens, decode_s in ((7, 1.0), (0, 1.0), (50, 0.0)):
        for _ in range(8):
            job = stage.put(GPU2, "u")
            stage.end(job, GPU2, output_tokens=output_tokens, decode_s=decode_s)
    assert costs_ms(stage.assign("v" * 10))["gpu2"][2] == 100


def test_another_life_is_as_quick_as_its_cost_model_says() -> None:
    stage = Stage(instances=3)
    decode(stage, GPU2, SLOW_S, times=8)
    assert costs_ms(stage.assign("u" * 10))["gpu2"][2] > 100
    stage.join(GPU2, epoch="e2")
    assert costs_ms(stage.assign("v" * 10))["gpu2"][2] == 100


# How much is remembered.


def test_the_window_is_cut_short_where_its_requests_would_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """20 blocks beyond the 8 of the cache: of 10 requests of 4 blocks the last 7 stay."""
    monkeypatch.setattr(columns, "MAX_UNHELD_BLOCKS", 20)
    stage = Stage(instances=1, capacity_blocks=8)
    for number in range(10):
        stage.end(stage.put(GPU0, chr(ord("a") + number) * 4), GPU0)
    drawn = stage.scheduler.draw().nodes
    assert len(drawn) == 7
    assert sum(node.blocks for node in drawn) == 28
    assert costs_ms(stage.assign("z"))["gpu0"][0] == 7 * (40 + 45)


def test_jobs_under_way_are_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_UNHELD_BLOCKS", 0)
    stage = Stage(instances=1, capacity_blocks=0)
    for letter in "abcd":
        stage.put(GPU0, letter * 4)
    assignment = stage.assign("aaaau")
    assert (assignment.weighed.load_s, assignment.expected_hit_tokens) == ([0.0], 40)


# Columns, against what they sum up.

Event = tuple[str, int, str]
"""What happens, to which instance, and with which prompt."""

events = st.tuples(
    st.sampled_from(["place", "place", "place", "end", "store", "expire", "join", "leave"]),
    st.integers(0, 2),
    st.sampled_from(["", "a", "aaaa", "aabb", "bbbbbb"]),
)


class Folded:
    """A fleet and the requests placed there, as events left them."""

    def __init__(self) -> None:
        self.fleet = Fleet(block_size=10, history_s=WINDOW_S)
        self.model = load_cost_model(ONE_MS_A_TOKEN)
        self.placed: list[PlacedRequest] = []
        self.serial = 0

    def fold(self, event: Event) -> None:
        kind, number, prompt = event
        self.serial += 1
        instance = self.fleet.instances.get(InstanceId(f"gpu{number}"))
        if kind == "join":
            self.join(InstanceId(f"gpu{number}"))
        elif instance is None:
            return
        elif kind == "place":
            self.place(number, prompt)
        elif kind == "leave":
            self.fleet.leave(instance)
            self.placed = [each for each in self.placed if each.instance is not instance]
        elif kind == "store":
            self.fleet.tree.store(keys_of(prompt or "c"), instance.account.holder)
            self.fleet.stored(instance, keys_of(prompt or "c"))
        elif self.placed:
            placed = self.placed[self.serial % len(self.placed)]
            self.fleet.unexpect(placed)
            if kind == "end":
                self.placed.remove(placed)
                assert self.fleet.forget(placed.job_id) is placed

    def join(self, instance: InstanceId) -> None:
        record = InstanceRecord(instance, f"e{self.serial}", "noop", 8, 100, ONE_MS_A_TOKEN)
        self.fleet.join(record, self.model)

    def place(self, number: int, prompt: str) -> None:
        instance, keys = self.fleet.instances[InstanceId(f"gpu{number}")], keys_of(prompt)
        tokens = 10 * len(prompt) + 5
        placed = self.fleet.place(
            JobId(str(self.serial)), instance, keys,
            self.fleet.tree.match(keys, self.fleet.mask), prompt_tokens=tokens,
            hit_tokens=self.serial % tokens, prefill_s=self.serial / 8, now_s=0.0,
        )  # fmt: skip
        if self.serial % 3:
            self.fleet.remember(placed)
        self.placed.append(placed)


@settings(max_examples=200)
@given(st.lists(events, max_size=40))
def test_columns_are_the_sums_over_what_is_placed(told: list[Event]) -> None:
    folded = Folded()
    for number in range(3):
        folded.join(InstanceId(f"gpu{number}"))
    for event in told:
        folded.fold(event)
        fleet = folded.fleet
        fleet.tree.check_invariants()
        for row, instance in enumerate(fleet.rows):
            there = [each for each in folded.placed if each.instance is instance]
            backlog = [each for each in there if not each.is_computed]
            assert instance.account.row == row
            assert fleet.outstanding[row] == len(there) == len(instance.placed)
            assert fleet.context_tokens[row] == sum(each.prompt_tokens for each in there)
            assert fleet.backlog_tokens[row] == sum(each.miss_tokens for each in backlog)
            backlog_s = sum(each.prefill_s for each in backlog)
            assert fleet.backlog_s[row] == pytest.approx(backlog_s, abs=1e-9)
