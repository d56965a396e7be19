"""Any number of items through an api: what both clients do alike, and what only one can."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import httpx2
import pytest
from fake_api import Body, FakeApi, problem

from preble import AsyncClient, Client
from preble.client import Job, JobFields, Outcome, RequestRefused, ServerUnreachable
from preble.client.flow import MOST_AT_ONCE, Item, as_job
from preble.clock import ManualClock


def sync_client(api: FakeApi) -> Client:
    clock = ManualClock()
    return Client("http://api.test", transport=api.transport, clock=clock, sleep=clock.advance)


def async_client(api: FakeApi) -> AsyncClient:
    clock = ManualClock()

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    return AsyncClient("http://api.test", transport=api.transport, clock=clock, sleep=sleep)


def mapped(
    kind: str, api: FakeApi, items: Iterable[Item] | AsyncIterator[Item], *,
    job: Callable[[Item], JobFields] = as_job, max_inflight: int = 64, ordered: bool = False,
) -> list[tuple[Item, Outcome]]:  # fmt: skip
    """What a client of either kind yields."""
    if kind == "sync":
        assert isinstance(items, Iterable)
        with sync_client(api) as client:
            return list(client.map(items, job=job, max_inflight=max_inflight, ordered=ordered))

    async def collect() -> list[tuple[Item, Outcome]]:
        async with async_client(api) as client:
            pairs = client.map(items, job=job, max_inflight=max_inflight, ordered=ordered)
            return [pair async for pair in pairs]

    return asyncio.run(collect())


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


def text_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Job)
    assert outcome.result
    return outcome.result.text


@KINDS
def test_each_item_comes_once_with_its_own_result(kind: str) -> None:
    api = FakeApi(ends_at_look=2)
    pairs = mapped(kind, api, map(str, range(1_000)), max_inflight=64)
    assert sorted(int(item) for item, _ in pairs) == list(range(1_000))
    assert all(text_of(outcome) == f"answer to {item}" for item, outcome in pairs)
    assert api.most_open == 64


@KINDS
def test_ordered_is_the_order_of_the_items(kind: str) -> None:
    class Uneven(FakeApi):
        """Ends every third job late."""

        def _looked_at(self, job_id: str) -> Body:
            self.ends_at_look = 4 if int(job_id.removeprefix("job_")) % 3 == 0 else 1
            return super()._looked_at(job_id)

    late = Uneven()
    pairs = mapped(kind, late, map(str, range(300)), max_inflight=16, ordered=True)
    assert [item for item, _ in pairs] == [str(number) for number in range(300)]
    assert late.most_open <= 16


@KINDS
def test_nothing_is_asked_for_nothing(kind: str) -> None:
    api = FakeApi()
    assert mapped(kind, api, []) == []
    assert api.requests == []


@KINDS
def test_one_wrong_item_harms_no_other(kind: str) -> None:
    api = FakeApi(refuses=lambda job: "poison" if job["prompt"] in {"3", "7"} else "")
    pairs = mapped(kind, api, map(str, range(10)))
    refused = {item: outcome for item, outcome in pairs if isinstance(outcome, RequestRefused)}
    assert {item: str(error) for item, error in refused.items()} == {"3": "poison", "7": "poison"}
    assert len(pairs) == 10


def test_a_refusal_that_names_no_job_is_narrowed_down() -> None:
    class Tight(FakeApi):
        """Says only that the body is too large."""

        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            if b"huge" in request.content:
                return problem(413, "too large")
            return super().__call__(request)

    pairs = mapped("sync", Tight(), ["a", "b", "huge", "c"])
    assert {item for item, outcome in pairs if isinstance(outcome, RequestRefused)} == {"huge"}
    assert len(pairs) == 4


@KINDS
def test_a_refusal_that_all_would_meet_is_raised(kind: str) -> None:
    class Locked(FakeApi):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            del request
            return problem(401, "who are you")

    with pytest.raises(RequestRefused, match="who are you"):
        mapped(kind, Locked(), ["a", "b"])


def test_a_job_that_vanished_is_its_items_outcome() -> None:
    class Forgetful(FakeApi):
        def _ended(self, job_ids: list[str]) -> httpx2.Response:
            self.jobs.pop("job_1", None)
            return super()._ended(job_ids)

    outcomes = dict(mapped("sync", Forgetful(), ["a", "b", "c"]))
    assert isinstance(outcomes["b"], RequestRefused)
    assert isinstance(outcomes["c"], Job)


def test_items_are_taken_only_as_there_is_room() -> None:
    taken: list[int] = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(len(taken))
            yield "x"

    with sync_client(FakeApi()) as client:
        pairs = client.map(endless(), max_inflight=8)
        for _ in range(20):
            next(pairs)
    assert len(taken) <= 20 + 2 * 8


def test_large_rooms_are_filled_by_several_calls() -> None:
    api = FakeApi(ends_at_look=3)
    mapped("sync", api, map(str, range(2_000)), max_inflight=1_000)
    assert max(api.calls) == MOST_AT_ONCE
    assert api.most_open == 1_000


@KINDS
def test_other_items_are_made_into_jobs(kind: str) -> None:
    def job(number: int) -> JobFields:
        return {"prompt": f"number {number}", "priority": "batch"}

    pairs = mapped(kind, FakeApi(), [1, 2], job=job)
    assert [(item, text_of(outcome)) for item, outcome in pairs] == [
        (1, "answer to number 1"), (2, "answer to number 2"),
    ]  # fmt: skip
    with pytest.raises(TypeError, match="int is no job"):
        mapped(kind, FakeApi(), [1])


def test_items_may_come_one_by_one_in_time() -> None:
    async def coming() -> AsyncIterator[str]:
        for number in range(5):
            await asyncio.sleep(0)
            yield str(number)

    assert len(mapped("async", FakeApi(), coming())) == 5


def test_the_async_client_does_what_the_other_does() -> None:
    async def scenario() -> None:
        api = FakeApi(ends_at_look=2)
        async with async_client(api) as client:
            ids = await client.submit([{"prompt": "a"}, {"prompt": "b"}])
            assert (await client.get(ids[0])).status == "running"
            jobs = await client.wait(ids)
            assert [job.id for job in jobs] == ids
            assert (await client.cancel(ids[0])).id == ids[0]
            assert (await client.retry(ids[0])).id == ids[0]
            assert await client.models() == ["m"]
        assert [each.url.path for each in api.requests][-3:] == [
            f"/v1/jobs/{ids[0]}/cancel", f"/v1/jobs/{ids[0]}/retry", "/v1/models",
        ]  # fmt: skip

    asyncio.run(scenario())


def test_the_async_client_tries_again_and_gives_up() -> None:
    attempts: list[float] = []

    def handler(_: httpx2.Request) -> httpx2.Response:
        attempts.append(0.0)
        raise httpx2.ConnectError("refused")

    async def scenario() -> None:
        clock = ManualClock()

        async def sleep(seconds: float) -> None:
            clock.advance(seconds)

        transport = httpx2.MockTransport(handler)
        async with AsyncClient(
            "http://api.test", transport=transport, clock=clock, sleep=sleep, retry_for_s=30
        ) as client:
            await client.get("a")

    with pytest.raises(ServerUnreachable, match="refused"):
        asyncio.run(scenario())
    assert len(attempts) > 3
