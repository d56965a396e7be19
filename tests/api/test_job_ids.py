"""What an id says of its job."""

from hashlib import sha256

import httpx2
import pytest

from preble.client.keys import dated_key
from preble.clock import unix_s
from preble.messages import JobId
from preble_api.job_ids import JobIds, has_expired

DAY_S = 86_400.0
IDS = JobIds("default")


def test_ids_differ_and_are_fit_for_a_url() -> None:
    ids = {IDS.new() for _ in range(100)}
    assert len(ids) == 100
    assert all(IDS.may_be(each) and len(each) == 44 for each in ids)


@pytest.mark.parametrize(
    ("age_s", "expected"), [(0, False), (DAY_S - 60, False), (DAY_S + 60, True)]
)
def test_an_unknown_job_older_than_results_are_kept_has_expired(
    age_s: float, *, expected: bool
) -> None:
    made_at_s = 1_800_000_000.0
    job_id = IDS.new(lambda: made_at_s)
    assert has_expired(job_id, kept_s=DAY_S, now=lambda: made_at_s + age_s) is expected


@pytest.mark.parametrize("end", ["", "-17"])
def test_a_job_under_a_dated_key_is_as_old_as_its_key(end: str) -> None:
    made_at_s = unix_s()
    job_id = IDS.keyed(dated_key() + end, sha256(b"any").hexdigest())
    assert IDS.may_be(job_id)
    for age_s, expected in ((0, False), (DAY_S - 60, False), (DAY_S + 60, True)):
        assert has_expired(job_id, kept_s=DAY_S, now=lambda at=made_at_s + age_s: at) is expected  # type: ignore[misc]


def test_an_id_is_of_one_pool() -> None:
    others = JobIds("other")
    for job_id in (IDS.new(), IDS.keyed("k1", "0" * 64)):
        assert not others.may_be(job_id)
    assert IDS.keyed("k1", "0" * 64) != others.keyed("k1", "0" * 64)


@pytest.mark.parametrize("rest", ["", "a:b", "a" * 33, "a\n", "*"])
def test_what_no_job_can_be_called(rest: str) -> None:
    assert not IDS.may_be(IDS.new()[:12] + rest)


def test_dated_keys_differ() -> None:
    assert len({dated_key() for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize("job_id", [IDS.keyed("k1", "0" * 64), JobId("job_1"), JobId("0" * 36)])
def test_of_other_ids_nothing_is_known(job_id: JobId) -> None:
    assert not has_expired(job_id, kept_s=DAY_S)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.anyio
async def test_what_has_expired_is_gone_and_what_never_was_is_not_found(
    client: httpx2.AsyncClient, method: str
) -> None:
    old = IDS.new(lambda: unix_s() - 2 * DAY_S)
    for job_id, status, code in ((old, 410, "job_expired"), (IDS.new(), 404, "job_not_found")):
        path = f"/v1/jobs/{job_id}" + ("/cancel" if method == "POST" else "")
        reply = await client.request(method, path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
        assert reply.headers["x-should-retry"] == "false"
