"""The client's lists and retries against an api played by a function."""

from collections.abc import Callable
from itertools import islice

import httpx2
import pytest

from preble.client import Client, JobUnknown, RequestRefused
from preble.messages import JobState


def client_of(handler: Callable[[httpx2.Request], httpx2.Response]) -> Client:
    def never(seconds: float) -> None:
        raise AssertionError(seconds)

    return Client("http://api.test", transport=httpx2.MockTransport(handler), sleep=never)


class Paged:
    """An api with jobs 0 to 4, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("GET", "/v1/jobs")
        query = dict(request.url.params)
        self.asked.append(query)
        first, limit = int(query.get("after", 0)), int(query["limit"])
        jobs = [
            {"id": f"job{number}", "status": "failed", "created_at": 1.0, "result": None}
            for number in range(5)[first : first + limit]
        ]
        more = first + limit < 5
        page = {"data": jobs, "has_more": more, "next": first + limit if more else None}
        return httpx2.Response(200, json=page)


@pytest.mark.parametrize("page_jobs", [1, 2, 5, 100])
def test_a_list_goes_through_all_pages(page_jobs: int) -> None:
    with client_of(Paged()) as client:
        ids = [job.id for job in client.list_jobs(page_jobs=page_jobs)]
    assert ids == [f"job{number}" for number in range(5)]


def test_pages_are_asked_for_as_they_are_needed() -> None:
    api = Paged()
    with client_of(api) as client:
        assert [job.id for job in islice(client.list_jobs(page_jobs=2), 3)] == [
            "job0", "job1", "job2",
        ]  # fmt: skip
    assert [query.get("after") for query in api.asked] == [None, "2"]


def test_what_is_wanted_is_said_of_every_page() -> None:
    api = Paged()
    with client_of(api) as client:
        jobs = client.list_jobs(
            status=JobState.FAILED, tenant="a", is_newest_first=False, page_jobs=3
        )
        assert len(list(jobs)) == 5
    wanted = {"status": "failed", "tenant": "a", "limit": "3", "order": "asc"}
    assert api.asked == [wanted, {**wanted, "after": "3"}]


def test_a_list_may_go_over_an_empty_page() -> None:
    pages: list[dict[str, object]] = [
        {"data": [], "has_more": True, "next": 7},
        {"data": [{"id": "a", "status": "failed", "created_at": 1.0}], "next": None},
    ]
    with client_of(lambda _: httpx2.Response(200, json=pages.pop(0))) as client:
        assert [job.id for job in client.list_jobs()] == ["a"]


def test_retry_returns_the_job() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("POST", "/v1/jobs/a/retry")
        return httpx2.Response(200, json={"id": "a", "status": "waiting", "created_at": 1.0})

    with client_of(handler) as client:
        assert client.retry("a").status is JobState.WAITING


@pytest.mark.parametrize(
    ("status", "kind"), [(404, JobUnknown), (410, JobUnknown), (409, RequestRefused)]
)
def test_what_cannot_run_again_is_named(status: int, kind: type[RequestRefused]) -> None:
    problem = {"error": {"message": "no longer kept", "code": "prompt_dropped"}}
    with (
        client_of(lambda _: httpx2.Response(status, json=problem)) as client,
        pytest.raises(kind, match=r"^a: no longer kept") as raised,
    ):
        client.retry("a")
    assert (raised.value.status, raised.value.code) == (status, "prompt_dropped")
