"""Calls of a broker that is away: how long until the next, and which errors end it."""

from itertools import islice

import pytest

from preble.broker import insisting
from preble.broker.insisting import insist, pauses_s
from preble.errors import BrokerUnavailable, NotLeader

pytestmark = pytest.mark.anyio


class Answers:
    """What a broker says, one after another."""

    def __init__(self, *answers: str | Exception) -> None:
        self.left = list(answers)

    async def __call__(self) -> str:
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insisting, "FIRST_PAUSE_S", 0.0)


@pytest.mark.usefixtures("without_pauses")
async def test_it_calls_until_it_is_answered_and_says_now_and_then_why_it_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    call = Answers(*[BrokerUnavailable("away")] * 15, "here", "not asked for")
    assert await insist(call) == "here"
    assert call.left == ["not asked for"]
    assert caplog.messages == ["away; trying again"] * 2


@pytest.mark.usefixtures("without_pauses")
async def test_other_errors_of_the_broker_end_it() -> None:
    call = Answers(BrokerUnavailable("away"), NotLeader("another is"), "not asked for")
    with pytest.raises(NotLeader):
        await insist(call)
    assert call.left == ["not asked for"]


def test_the_longest_pauses_double_from_a_quick_first_to_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def most(_least_s: float, most_s: float) -> float:
        return most_s

    monkeypatch.setattr("random.uniform", most)
    assert list(islice(pauses_s(), 7)) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_those_that_were_left_together_return_one_by_one() -> None:
    returns = [sum(islice(pauses_s(), 5)) for _ in range(100)]
    assert max(returns) - min(returns) > 0.1
