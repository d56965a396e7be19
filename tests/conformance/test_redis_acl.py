"""What the accounts of a pool may not do: each role, and each pool beside another on one Redis.

That each may do all it must, say the other tests here, on the broker `accounts`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from acl_support import as_user, by_role, open_accounts
from queue_support import LEASE_S, Hands
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError
from support import assignment, completed, free_port, record, redis_broker, submission, valkey

from preble.broker.acl import PASSWORD, RIGHTS, ROLES, Role, account
from preble.broker.api_keys import digest_of
from preble.broker.keys import KEYS, PoolKeys, job_prefix
from preble.broker.redis import RedisBroker
from preble.broker.redis_api_keys import RedisApiKeys
from preble.cli import run
from preble.errors import BrokerError
from preble.messages import JobId, JobState

pytestmark = pytest.mark.anyio

OWN, OTHER = "own", "other"
JOB = f"{job_prefix(OWN)}1"
DANGEROUS = (
    ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("DBSIZE",), ("FLUSHALL",), ("FLUSHDB",),
    ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("ACL", "WHOAMI"), ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "ID", "1"), ("MONITOR",), ("INFO",), ("SAVE",),
    ("SHUTDOWN", "NOSAVE"), ("SLOWLOG", "GET"), ("SCRIPT", "FLUSH"), ("SCRIPT", "KILL"),
    ("EVAL", "return 1", "0"), ("FUNCTION", "LIST"), ("PUBLISH", "c", "m"), ("SUBSCRIBE", "c"),
    ("REPLICAOF", "NO", "ONE"), ("MIGRATE", "h", "1", "k", "0", "1"), ("SORT", "rq:queues"),
)  # fmt: skip


@pytest.fixture
def users(redis: Redis) -> dict[Role, str]:
    """The accounts of one pool, beside those of another."""
    open_accounts(redis, OTHER)
    return open_accounts(redis, OWN)


@pytest.fixture
def clients(redis_url: str, users: dict[Role, str]) -> Iterator[dict[Role, Redis]]:
    """A connection as each of them."""
    made: dict[Role, Redis] = {
        role: Redis.from_url(as_user(redis_url, users[role])) for role in ROLES
    }
    yield made
    for client in made.values():
        client.close()


@pytest.fixture
async def brokers(redis_url: str, users: dict[Role, str]) -> AsyncIterator[dict[Role, RedisBroker]]:
    """A broker as each of them."""
    made: dict[Role, RedisBroker] = {
        role: redis_broker(as_user(redis_url, users[role]), OWN) for role in ROLES
    }
    yield made
    for broker in made.values():
        await broker.close()


def call(redis: Redis, *command: object) -> object:
    """One command."""
    return redis.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("command", DANGEROUS, ids=lambda command: " ".join(command[:2]))
def test_no_role_may_administer_or_look_around(
    clients: dict[Role, Redis], role: Role, command: tuple[str, ...]
) -> None:
    with pytest.raises(NoPermissionError):
        call(clients[role], *command)


def key_of(template: str, pool: str) -> str:
    """A key of a pool, as that pool names it."""
    of_rq = {"job": f"{job_prefix(pool)}1", "composite": f"{job_prefix(pool)}1:e"}
    queue = f"{pool}.instance.gpu0"
    names = {"queue": queue, "worker": queue, **of_rq}
    places = dict.fromkeys(("stage", "tenant", "scope", "group", "name", "inbox", "instance"), "x")
    return template.format(**{"pool": pool, **places, **names})


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reads_or_writes_a_key_of_another_pool(
    clients: dict[Role, Redis], redis: Redis, role: Role
) -> None:
    named = [key for key in KEYS if "{" in key.template]
    for key in (key_of(each.template, OTHER) for each in named):
        call(redis, "SET", key, "secret")
        script = call(clients[role], "SCRIPT", "LOAD", f"return redis.call('GET', '{key}')")
        for command in (
            ("GET", key), ("HGETALL", key), ("LRANGE", key, 0, -1), ("EXISTS", key), ("DEL", key),
            ("SET", key, "x"), ("XREAD", "STREAMS", key, "0"),
            ("RENAME", key, f"preble:{OWN}:pool"),
        ):  # fmt: skip
            with pytest.raises(NoPermissionError):
                call(clients[role], *command)
        with pytest.raises(ResponseError, match="No permissions to access a key"):
            call(clients[role], "EVALSHA", script, 0)
        assert call(redis, "GET", key) == b"secret"


@pytest.mark.parametrize("role", ROLES)
def test_each_role_reads_and_writes_what_the_table_says(
    clients: dict[Role, Redis], redis: Redis, role: Role
) -> None:
    for key in KEYS:
        right = RIGHTS[key.name][ROLES.index(role)]
        name = key_of(key.template, OWN)
        if name.endswith(":executions") and name.startswith("rq:worker:"):
            continue  # the rights on `worker` hold for it, too
        call(redis, "SET", name, "1")
        for letter, command in (("r", ("GET", name)), ("w", ("SET", name, "1"))):
            if letter in right:
                call(clients[role], *command)
            else:
                with pytest.raises(NoPermissionError):
                    call(clients[role], *command)


def test_the_table_has_every_key() -> None:
    assert set(RIGHTS) == {key.name for key in KEYS}


async def running(brokers: dict[Role, RedisBroker]) -> None:
    """One job that runs."""
    api, scheduler, worker = (brokers[role] for role in ROLES)
    assert await api.admit([[submission(JOB)]]) == [None]
    await worker.register(record(), lease_s=LEASE_S)
    token = await scheduler.lead("leader", ttl_s=LEASE_S)
    assert token
    waiting = await scheduler.peek(10)
    assert await scheduler.route(token, [(j.ingress, assignment(j)) for j in waiting]) == [True]


async def test_an_api_cannot_complete_a_job(
    brokers: dict[Role, RedisBroker], clients: dict[Role, Redis]
) -> None:
    await running(brokers)
    claimed = await Hands(brokers["worker"]).claim()
    outcome = completed(claimed[0].lease)
    with pytest.raises(BrokerError, match="permission"):
        await brokers["api"].finish(record(), [outcome])
    with pytest.raises(NoPermissionError):
        call(clients["api"], "XADD", f"rq:results:{JOB}", "*", "type", 1, "return_value", "e30=")

    assert await brokers["worker"].finish(record(), [outcome]) == [True]  # nothing was touched
    view = await brokers["api"].view(JobId(JOB))
    assert view
    assert view.result == outcome.result


async def test_what_an_api_writes_into_a_job_does_not_complete_it(
    brokers: dict[Role, RedisBroker], clients: dict[Role, Redis]
) -> None:
    await running(brokers)
    call(clients["api"], "HSET", f"rq:job:{JOB}", "preble_state", "completed")
    assert await brokers["api"].view(JobId(JOB)) is None


async def test_an_api_neither_leads_nor_claims(brokers: dict[Role, RedisBroker]) -> None:
    await running(brokers)
    api = brokers["api"]
    with pytest.raises(BrokerError):
        await api.lead("usurper", ttl_s=LEASE_S)
    with pytest.raises(BrokerError):
        await Hands(api).claim()
    with pytest.raises(BrokerError):
        await api.register(record("gpu9"), lease_s=LEASE_S)


async def test_an_api_sees_how_the_instances_stand(brokers: dict[Role, RedisBroker]) -> None:
    await running(brokers)
    await Hands(brokers["worker"]).claim()
    [view] = await brokers["api"].roster.views()
    assert (view.state, view.running) == ("ready", 1)


async def test_a_worker_neither_leads_nor_submits_nor_sees_keys(
    brokers: dict[Role, RedisBroker], clients: dict[Role, Redis]
) -> None:
    worker = brokers["worker"]
    with pytest.raises(BrokerError):
        await worker.lead("usurper", ttl_s=LEASE_S)
    [refusal] = await worker.admit([[submission(JOB)]])
    assert isinstance(refusal, BrokerError)
    with pytest.raises(NoPermissionError):
        call(clients["worker"], "HGETALL", PoolKeys(OWN)("api_keys"))


async def test_a_job_that_an_api_cancels_while_it_runs_has_no_result(
    brokers: dict[Role, RedisBroker], redis: Redis
) -> None:
    await running(brokers)
    [job] = await Hands(brokers["worker"]).claim()
    assert await brokers["api"].cancel([JobId(JOB)]) == [JobState.CANCELLED]
    assert await brokers["worker"].finish(record(), [completed(job.lease)]) == [False]
    assert redis.xlen(f"rq:results:{JOB}") == 0


async def test_two_pools_on_one_redis_reap_only_their_own(redis_url: str, redis: Redis) -> None:
    pools = [by_role(redis_url, each) for each in (OWN, OTHER)]
    for index, broker in enumerate(pools):
        hands = Hands(broker)
        await hands.admit(f"job{index}")
        await hands.place()
        [job] = await hands.claim()
        assert await broker.finish(record(), [completed(job.lease)]) == [True]
    own, other = (f"rq:finished:{pool}.instance.gpu0" for pool in (OWN, OTHER))
    for key, index in ((own, 0), (other, 1)):
        redis.zadd(key, {f"job{index}": 1})  # as if its time had come
    await pools[0].reap(await Hands(pools[0]).leader(), limit=100)
    assert (redis.exists(own), redis.exists(other)) == (0, 1)
    for broker in pools:
        await broker.close()


def test_the_printed_lines_are_an_acl_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["redis", "acl", "--pool", OWN]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [account(role, OWN) for role in ROLES]
    assert PASSWORD in told.err
    assert run(["redis", "acl", "--pool", OWN, "--role", "worker"]) == 0
    assert capsys.readouterr().out.splitlines() == [account("worker", OWN)]

    file = tmp_path / "users.acl"
    file.write_text(told.out.replace(PASSWORD, "#" + "0" * 64))
    port = free_port()
    with valkey(tmp_path, port, "--aclfile", str(file)), Redis(port=port) as redis:
        assert len(redis.acl_users()) == len(ROLES) + 1  # and the one that is always there


async def test_an_api_knows_keys_of_clients_and_makes_none(
    redis_url: str, users: dict[Role, str]
) -> None:
    operator, api = (
        RedisApiKeys(url, OWN) for url in (redis_url, as_user(redis_url, users["api"]))
    )
    secret, key = await operator.create("n", tenant="t", scopes=["submit"], life_s=None)
    assert await api.find(digest_of(secret.encode())) == key
    assert await api.are_there()
    with pytest.raises(BrokerError):
        await api.create("mine", tenant=None, scopes=["admin"], life_s=None)
    with pytest.raises(BrokerError):
        await api.revoke(key.id)
    for each in (operator, api):
        await each.close()
