"""The client against an api played by a function: what is repeated, when, and what is raised."""

import json
from collections.abc import Callable, Iterator

import httpx2
import pytest
from fake_api import FakeApi

from preble.client import (
    Client,
    JobUnknown,
    RequestRefused,
    ServerUnreachable,
    SubmissionUncertain,
    UnexpectedReply,
    WaitTimeout,
    calls,
)
from preble.client.attempts import is_loopback
from preble.client.calls import MAX_BYTES_PER_CALL, MAX_JOBS_PER_CALL
from preble.client.looks import LONGEST_WAIT_S, MAX_LOOK_JOBS
from preble.client.retries import LONGEST_PAUSE_S, LONGEST_RETRY_AFTER_S, retry_pause_s
from preble.clock import ManualClock
from preble.errors import ConfigError
from preble.messages import JobState

Handler = Callable[[httpx2.Request], httpx2.Response]
Answer = httpx2.Response | Exception

RESULT = {
    "text": "four",
    "output_ids": [4],
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "cached_tokens": 0},
    "ttft_s": 0.1,
    "engine_s": 0.2,
}


class FakeTime:
    """A clock that sleeping moves on, and what was slept."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.slept_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(seconds)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def client_of(handler: Handler, time: FakeTime) -> Client:
    return Client(
        "http://api.test",
        api_key="secret",
        retry_for_s=60.0,
        transport=httpx2.MockTransport(handler),
        clock=time.clock,
        sleep=time.sleep,
    )


def scripted(answers: list[Answer]) -> Handler:
    """An api that gives these answers in turn."""
    left: Iterator[Answer] = iter(answers)

    def handler(_: httpx2.Request) -> httpx2.Response:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


def keys_sent(time: FakeTime, *answers: Answer) -> list[str]:
    """The keys of all attempts of one submission that gets these answers and then ids."""
    answer = scripted([*answers, accepted("a")])
    keys: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["idempotency-key"])
        return answer(request)

    assert client_of(handler, time).submit([{"prompt": "x"}]) == ["a"]
    return keys


def problem(status: int, retry_after: str = "", **error: str) -> httpx2.Response:
    headers = {"retry-after": retry_after} if retry_after else {}
    return httpx2.Response(status, headers=headers, json={"error": {"message": "no", **error}})


def accepted(*job_ids: str) -> httpx2.Response:
    return httpx2.Response(202, json={"object": "list", "data": [{"id": each} for each in job_ids]})


def job(job_id: str, status: str = "completed") -> httpx2.Response:
    ended = status == "completed"
    fields = {
        "id": job_id,
        "status": status,
        "created_at": 1.0,
        "result": RESULT if ended else None,
    }
    return httpx2.Response(200, headers={} if ended else {"retry-after": "2"}, json=fields)


def test_submit_returns_the_ids_in_order(time: FakeTime) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return accepted("a", "b")

    with client_of(handler, time) as client:
        assert client.submit([{"prompt": "x"}, {"prompt": "y"}]) == ["a", "b"]

    assert json.loads(seen[0].content) == [{"prompt": "x"}, {"prompt": "y"}]
    assert seen[0].headers["authorization"] == "Bearer secret"


def test_submit_of_nothing_asks_nobody(time: FakeTime) -> None:
    assert client_of(scripted([]), time).submit([]) == []


def test_full_queue_is_tried_again_when_it_says(time: FakeTime) -> None:
    handler = scripted([problem(429, retry_after="7"), problem(503), accepted("a")])

    assert client_of(handler, time).submit([{"prompt": "x"}]) == ["a"]

    assert time.slept_s[0] == 7.0
    assert time.slept_s[1] < 1.0


def test_queue_that_stays_full_is_refused_in_the_end(time: FakeTime) -> None:
    handler = scripted([problem(429, retry_after="20")] * 4)

    with pytest.raises(RequestRefused) as refused:
        client_of(handler, time).submit([{"prompt": "x"}])

    assert refused.value.status == 429
    assert time.clock.now_s() <= 60.0


def test_wrong_field_is_named_and_not_tried_again(time: FakeTime) -> None:
    handler = scripted([problem(400, code="invalid_value", param="sampling_params.top_p")])

    with pytest.raises(RequestRefused) as refused:
        client_of(handler, time).submit([{"prompt": "x"}])

    assert (refused.value.code, refused.value.field) == ("invalid_value", "sampling_params.top_p")


def test_submission_is_repeated_while_nobody_listened(time: FakeTime) -> None:
    handler = scripted([httpx2.ConnectError("refused"), accepted("a")])

    assert client_of(handler, time).submit([{"prompt": "x"}]) == ["a"]


def test_submission_whose_reply_was_lost_is_repeated_under_its_key(time: FakeTime) -> None:
    lost: list[Answer] = [
        httpx2.ReadTimeout("timed out"), httpx2.Response(504, text="gateway"), problem(503),
    ]  # fmt: skip
    keys = keys_sent(time, *lost)

    assert keys == [keys[0]] * 4
    assert keys_sent(time) != [keys[0]]


def test_submission_can_be_given_a_key(time: FakeTime) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return accepted(request.headers["idempotency-key"])

    assert client_of(handler, time).submit([{"prompt": "x"}], idempotency_key="mine") == ["mine"]


@pytest.mark.parametrize(
    "answer", [httpx2.ReadTimeout("slow"), httpx2.Response(502), problem(503), problem(500)]
)
def test_submission_that_may_have_arrived_is_uncertain_and_names_its_key(
    answer: Answer, time: FakeTime
) -> None:
    client = client_of(scripted([answer] * 500), time)

    with pytest.raises(SubmissionUncertain, match=r"may have been accepted.* `mine`") as uncertain:
        client.submit([{"prompt": "x"}], idempotency_key="mine")

    assert uncertain.value.idempotency_key == "mine"


def test_doubt_stays_while_no_answer_ends_it(time: FakeTime) -> None:
    """The lost attempt may still be on its way when the queue is found full."""
    handler = scripted([httpx2.ReadTimeout("slow"), *[problem(429)] * 500])

    with pytest.raises(SubmissionUncertain):
        client_of(handler, time).submit([{"prompt": "x"}])


def test_refusal_ends_the_doubt(time: FakeTime) -> None:
    handler = scripted([httpx2.ReadTimeout("slow"), problem(400, param="prompt")])

    with pytest.raises(RequestRefused) as refused:
        client_of(handler, time).submit([{"prompt": "x"}])

    assert refused.value.field == "prompt"


def test_submission_that_never_arrived_is_not_in_doubt(time: FakeTime) -> None:
    handler = scripted([problem(429), *[httpx2.ConnectError("refused")] * 500])

    with pytest.raises(ServerUnreachable) as unreachable:
        client_of(handler, time).submit([{"prompt": "x"}])

    assert not isinstance(unreachable.value, SubmissionUncertain)


def test_reading_is_repeated_whatever_broke(time: FakeTime) -> None:
    handler = scripted([httpx2.ReadError("reset"), httpx2.Response(502), job("a")])

    assert client_of(handler, time).get("a").status is JobState.COMPLETED


def test_nobody_there_is_told_by_url(time: FakeTime) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with pytest.raises(ServerUnreachable, match=r"http://api\.test"):
        client_of(handler, time).get("a")


def test_unknown_job_has_an_error_of_its_own(time: FakeTime) -> None:
    with pytest.raises(JobUnknown, match=r"^a: no$"):
        client_of(scripted([problem(404)]), time).get("a")


def test_cancelling_says_how_the_job_ended(time: FakeTime) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return job("a/b", "cancelled")

    assert client_of(handler, time).cancel("a/b").status is JobState.CANCELLED
    assert (seen[0].method, seen[0].url.raw_path) == ("POST", b"/v1/jobs/a%2Fb/cancel")


def test_cancelling_is_tried_again_and_says_who_cannot_be_reached(time: FakeTime) -> None:
    """Twice does no harm: there is no doubt whether it was done."""
    answers: list[Answer] = [httpx2.ReadTimeout("slow"), job("a", "cancelled")]
    assert client_of(scripted(answers), time).cancel("a").id == "a"
    broken = [httpx2.ReadTimeout("slow")] * 50
    with pytest.raises(ServerUnreachable):
        client_of(scripted([*broken]), time).cancel("a")


def test_what_cannot_be_cancelled_is_named(time: FakeTime) -> None:
    with pytest.raises(JobUnknown, match=r"^a: no$"):
        client_of(scripted([problem(404)]), time).cancel("a")


@pytest.mark.parametrize("reply", [httpx2.Response(200, text="<html>"), httpx2.Response(404)])
def test_another_server_at_the_url_is_noticed(reply: httpx2.Response, time: FakeTime) -> None:
    with pytest.raises(UnexpectedReply):
        client_of(scripted([reply]), time).get("a")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://[::1", ""])
def test_url_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="no URL"):
        Client(url)


def test_wait_returns_the_jobs_in_the_order_asked(time: FakeTime) -> None:
    api = FakeApi()
    client = client_of(api, time)
    a, b, c = client.submit([{"prompt": "x"}] * 3)
    progress: list[int] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        api.ends_at_look = 1 if len(api.asked) == 2 else 9
        if not api.asked:
            api.open -= {b, c}
        return api(request)

    jobs = client_of(handler, time).wait([a, b, c], on_progress=progress.append)

    assert [each.id for each in jobs] == [a, b, c]
    assert api.asked == [[a, b, c], [a], [a]]
    assert progress == [2, 2, 3]


def test_wait_lets_the_api_wait_for_an_end(time: FakeTime) -> None:
    api = FakeApi()
    client = client_of(api, time)
    client.wait(client.submit([{"prompt": "x"}] * 2))
    assert api.requests[-1].headers["prefer"] == f"wait={LONGEST_WAIT_S}"
    assert time.slept_s == []


def test_an_api_that_answers_at_once_is_not_asked_ever_faster(time: FakeTime) -> None:
    api = FakeApi(ends_at_look=100)
    client = client_of(api, time)
    client.wait(client.submit([{"prompt": "x"}]))
    assert len(api.asked) == 100
    assert time.clock.now_s() > 40


def test_wait_gives_up_in_time(time: FakeTime) -> None:
    client = client_of(FakeApi(ends_at_look=10_000), time)

    with pytest.raises(WaitTimeout, match="1 jobs"):
        client.wait(client.submit([{"prompt": "x"}]), timeout_s=5.0)

    assert time.clock.now_s() == pytest.approx(5.0)


def test_a_job_that_is_gone_ends_the_wait(time: FakeTime) -> None:
    with pytest.raises(JobUnknown, match=r"^nobodys: no such job"):
        client_of(FakeApi(), time).wait(["nobodys"])


def test_failed_job_ends_the_wait(time: FakeTime) -> None:
    failure = {"code": "engine_refused", "message": "too long"}
    api = FakeApi(ends_as=lambda _: {"status": "failed", "error": failure, "result": None})
    client = client_of(api, time)

    (failed,) = client.wait(client.submit([{"prompt": "x"}]))

    assert failed.error is not None
    assert failed.error.code == "engine_refused"


def test_the_oldest_of_many_are_asked_for_first_and_none_is_forgotten(time: FakeTime) -> None:
    api = FakeApi(ends_at_look=3)
    client = client_of(api, time)
    ids = client.submit([{"prompt": "x"}] * 500)
    with client.watch(ids) as watch:
        assert [watch.look() for _ in range(3)] == [[], [], []]
        assert [each for asked in api.asked for each in asked] == ids
        while watch.num_open:
            watch.look()
    assert set(api.looks) == set(ids)
    assert max(map(len, api.asked)) == MAX_LOOK_JOBS


def test_jobs_can_join_a_watch(time: FakeTime) -> None:
    client = client_of(FakeApi(), time)
    a, b = client.submit([{"prompt": "x"}] * 2)
    with client.watch([a]) as watch:
        watch.add([b])

        assert [each.id for each in watch.look()] == [a, b]
        assert watch.num_open == 0


def test_long_lists_are_cut_by_count() -> None:
    sizes = [len(call) for call in calls({"prompt": "x"} for _ in range(2_500))]

    assert sizes == [MAX_JOBS_PER_CALL, MAX_JOBS_PER_CALL, 500]


def test_long_lists_are_cut_by_bytes() -> None:
    half = {"prompt": "x" * (MAX_BYTES_PER_CALL // 2)}

    assert [len(call) for call in calls([half, half, half])] == [1, 1, 1]
    assert list(calls([])) == []


def test_pause_grows_to_a_cap_and_is_jittered_by_half() -> None:
    assert [retry_pause_s(n, None, jitter=0.0) for n in (1, 2, 3)] == [0.125, 0.25, 0.5]
    assert retry_pause_s(1_000, None, jitter=0.999) == pytest.approx(LONGEST_PAUSE_S, rel=0.01)


def test_api_can_ask_for_a_longer_pause_but_not_for_ever() -> None:
    assert retry_pause_s(1, 30.0, jitter=0.5) == 30.0
    assert retry_pause_s(1, 9_999.0, jitter=0.5) == LONGEST_RETRY_AFTER_S


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.1:8000", True), ("http://[::1]:1", True), ("http://gpu-host:8000", False)],
)
def test_loopback_is_told_from_other_hosts(url: str, expected: bool) -> None:  # noqa: FBT001
    assert is_loopback(url) is expected
