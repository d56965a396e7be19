"""Lists of jobs, page by page. On both brokers."""

import pytest
from msgspec.structs import replace
from queue_support import Hands
from support import record

from preble.broker import Broker
from preble.broker.lists import LOOKS_PER_JOB, JobPage, JobQuery
from preble.messages import InstanceId, JobId, JobState

pytestmark = pytest.mark.anyio

OLDEST_FIRST = JobQuery(is_newest_first=False)


@pytest.fixture
def hands(broker: Broker) -> Hands:
    return Hands(broker)


def names(page: JobPage) -> str:
    return " ".join(job.job_id for job in page.jobs)


async def listed(broker: Broker, query: JobQuery = OLDEST_FIRST) -> str:
    """All pages, joined."""
    parts = list[str]()
    while True:
        page = await broker.list_jobs(query)
        assert len(page.jobs) <= query.limit
        parts += [names(page)] if page.jobs else []
        if page.after is None:
            return " ".join(parts)
        query = replace(query, after=page.after)


async def one_of_each(hands: Hands) -> None:
    """A job in each state."""
    await hands.admit("completed")
    await hands.complete_waiting()
    await hands.fail("failed")
    await hands.admit("cancelled")
    await hands.broker.cancel([JobId("cancelled")])
    await hands.admit("expired", deadline_s=0.0)
    await hands.reap()
    await hands.admit("running")
    await hands.run()
    await hands.admit("assigned")
    await hands.place()
    await hands.admit("waiting")


async def test_an_empty_pool_has_one_empty_page(broker: Broker) -> None:
    assert await broker.list_jobs(JobQuery()) == JobPage((), None)


async def test_the_newest_come_first_unless_the_oldest_are_wanted(hands: Hands) -> None:
    await hands.admit("a", "b")
    await hands.admit("c")
    assert names(await hands.broker.list_jobs(JobQuery())) == "c b a"
    assert names(await hands.broker.list_jobs(OLDEST_FIRST)) == "a b c"


@pytest.mark.parametrize("is_newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_a_page_begins_where_the_last_one_ended(
    hands: Hands,
    limit: int,
    is_newest_first: bool,  # noqa: FBT001  # pytest passes it by name
) -> None:
    await hands.admit("a", "b", "c", "d")
    query = JobQuery(limit=limit, is_newest_first=is_newest_first)
    assert await listed(hands.broker, query) == ("d c b a" if is_newest_first else "a b c d")


async def test_a_full_last_page_says_that_it_is_the_last(hands: Hands) -> None:
    await hands.admit("a", "b")
    assert (await hands.broker.list_jobs(JobQuery(limit=2))).after is None
    assert (await hands.broker.list_jobs(JobQuery(limit=1))).after is not None


@pytest.mark.parametrize("state", JobState)
async def test_a_state_lists_its_jobs_and_no_others(hands: Hands, state: JobState) -> None:
    await one_of_each(hands)
    assert await listed(hands.broker, JobQuery(state=state)) == state.value


async def test_all_states_are_listed_in_the_order_of_admission(hands: Hands) -> None:
    await one_of_each(hands)
    assert await listed(hands.broker) == (
        "completed failed cancelled expired running assigned waiting"
    )


async def test_a_tenant_sees_its_own(hands: Hands) -> None:
    await hands.fail("a1", tenant="a")
    await hands.fail("b1", tenant="b")
    await hands.admit("a2", tenant="a")
    await hands.admit("b2", tenant="b")
    in_a = replace(OLDEST_FIRST, tenant="a")
    assert await listed(hands.broker, in_a) == "a1 a2"
    assert await listed(hands.broker, replace(in_a, state=JobState.FAILED)) == "a1"
    assert await listed(hands.broker, replace(in_a, tenant="nobody")) == ""


async def test_an_entry_says_what_the_job_itself_says(hands: Hands) -> None:
    """But for its position, assignment and result, and when it was assigned."""
    await one_of_each(hands)
    entries = (await hands.broker.list_jobs(OLDEST_FIRST)).jobs
    assert len(entries) == len(JobState)
    for entry in entries:
        view = await hands.broker.view(entry.job_id)
        assert view
        unlisted = {"position": None, "assignment": None, "assigned_at_s": None, "result": None}
        assert entry == replace(view, **unlisted)
    completed, *_ = entries
    assert completed.instance_id == InstanceId("gpu0")
    assert completed.ended_at_s


async def test_jobs_that_come_and_go_between_pages_neither_repeat_nor_hide_others(
    hands: Hands,
) -> None:
    broker = hands.broker
    await hands.admit("a", "b", "c", "d", "e", "f")
    first = await broker.list_jobs(JobQuery(limit=2))
    assert names(first) == "f e"
    await broker.cancel([JobId("e"), JobId("d")])
    await hands.admit("g")
    await hands.complete_waiting()
    assert await listed(broker, JobQuery(limit=2, after=first.after)) == "d c b a"


async def test_a_cursor_stays_good_when_its_job_leaves_the_list(hands: Hands) -> None:
    await hands.admit("a", "b", "c", "d")
    waiting = replace(OLDEST_FIRST, state=JobState.WAITING, limit=2)
    first = await hands.broker.list_jobs(waiting)
    await hands.broker.cancel([JobId("b")])
    assert await listed(hands.broker, replace(waiting, after=first.after)) == "c d"


async def test_a_page_looks_at_so_many_jobs_and_says_that_more_follow(hands: Hands) -> None:
    """Few of very many: pages may be short, but each is found in time."""
    await hands.admit("rare")
    await hands.run()
    await hands.admit(*(f"job{number}" for number in range(LOOKS_PER_JOB + 2)))
    running = JobQuery(state=JobState.RUNNING, limit=1)
    first = await hands.broker.list_jobs(running)
    assert first.jobs == ()
    assert first.after is not None
    assert names(await hands.broker.list_jobs(replace(running, after=first.after))) == "rare"


async def test_a_page_holds_no_more_than_its_limit_wherever_its_jobs_stand(hands: Hands) -> None:
    await hands.admit("runs")
    await hands.run()
    await hands.admit("b", "c", "d")
    waiting = replace(OLDEST_FIRST, state=JobState.WAITING, limit=2)
    assert names(await hands.broker.list_jobs(waiting)) == "b c"


async def test_a_job_that_is_taken_back_stays_where_it_is_listed(hands: Hands) -> None:
    await hands.admit("a")
    (job,) = await hands.run()
    await hands.admit("b")
    await hands.broker.release(record(), [job.lease], is_attempt=False)
    await hands.reap()
    assert await listed(hands.broker, replace(OLDEST_FIRST, state=JobState.WAITING)) == "a b"
