"""Every Redis key, in one table: the only place that spells a key's name.

`KEYS` is read by people (who writes, who reads, when it goes), by Python (`PoolKeys`) and
by Lua (`lua_functions` renders the same templates as the functions of a table `k`).
Names start with `preble:{pool}:` (ours) or `rq:` (RQ's own, kept truthful so that RQ's
tools see what happens). Scripts build key names themselves, so one pool lives on one
primary: not on a Redis Cluster. `preble doctor` reads most of them and writes none. Which process
has which rights on them, where each has an account of its own, says `acl.py`.

RQ names what it keeps of a job by the job's id alone, and what it keeps of a queue by the queue's
name. Ids begin with their pool's `job_prefix`, names with the pool's own.

Prompt and block keys go with a job's end; if it failed, with its result, while `dead` counts them.

A job's record, result, decision and log go `result_ttl_s` after its end, or sooner: `ended` names
what has ended, in that order, with its bytes, which `counts` adds up; beyond `max_ended_bytes` the
first are dropped.

A `webhook` is there once its job, or batch, has ended; delivered, as long as the job, and given up,
as long as `dead_webhooks` names it. `webhooks` is scored by when each is due.

`drained` names the instances that get no more jobs, scored by since when. It outlives them: a
worker that comes back under such a name gets none, either.

The lists of jobs, `jobs` and `jobs_in`, are scored by the order of admission. Their scope is a
tenant, or `*`, which no tenant is called, for the pool; their group `unfinished`, or how a job
ended (`broker/lists.py`).
"""

import re
from hashlib import sha256
from typing import Final

import msgspec

from preble.config import Priority


class Key(msgspec.Struct, frozen=True):
    """One row of the table. Placeholders in the template are the key's arguments."""

    name: str
    template: str
    type: str
    writers: str
    readers: str
    goes: str


KEYS: Final = (
    # Ours.
    Key("schema", "preble:{pool}:schema", "string", "join, lead, keys", "the same", "never"),
    Key("pool", "preble:{pool}:pool", "string", "join", "join", "never"),
    Key("weights", "preble:{pool}:weights", "string", "join", "join", "never"),
    Key("api_keys", "preble:{pool}:api_keys", "hash", "preble keys", "api", "never"),
    Key("ingresses", "preble:{pool}:ingresses", "set", "ADMIT, REAP", "PEEK, stats", "ROUTE, PEEK"),
    Key("staged", "preble:{pool}:staged:{stage}:{job}", "string", "stage", "ADMIT", "a minute"),
    Key("prompt", "preble:{pool}:prompt:{job}", "string", "ADMIT", "CLAIM", "see `dead`"),
    Key("block_keys", "preble:{pool}:blocks:{job}", "string", "ADMIT", "DESCRIBE", "see `dead`"),
    Key("decision", "preble:{pool}:decision:{job}", "string", "ROUTE", "VIEW", "with the job"),
    Key("counts", "preble:{pool}:counts", "hash", "ADMIT, DONE, REAP", "ADMIT, stats", "never"),
    Key("totals", "preble:{pool}:totals", "hash", "DONE, REAP", "stats", "never"),
    Key("leases", "preble:{pool}:leases", "zset", "CLAIM, RENEW, DONE, REAP", "REAP", "never"),
    Key("tenants", "preble:{pool}:tenants", "hash", "ADMIT, DONE, REAP", "ADMIT", "at 0 jobs"),
    Key("rate", "preble:{pool}:rate:{tenant}", "string", "ADMIT", "ADMIT", "when it is full"),
    Key(
        "deadlines", "preble:{pool}:deadlines", "zset", "ADMIT, REAP", "REAP", "with the job's end"
    ),
    Key("jobs", "preble:{pool}:jobs:{scope}", "zset", "ADMIT, RETRY", "LIST", "REAP"),
    Key("jobs_in", "preble:{pool}:jobs:{scope}:{group}", "zset", "ADMIT, DONE", "LIST", "REAP"),
    Key(
        "ended", "preble:{pool}:ended", "zset", "DONE, REAP, CANCEL", "REAP", "expired, or dropped"
    ),
    Key("dead", "preble:{pool}:dead", "zset", "DONE, REAP", "RETRY", "RETRY, REAP"),
    Key("webhooks", "preble:{pool}:webhooks", "zset", "DONE, REAP, api", "api", "delivered"),
    Key("webhook", "preble:{pool}:webhook:{job}", "hash", "DONE, api", "VIEW, api", "see notes"),
    Key("dead_webhooks", "preble:{pool}:dead_webhooks", "zset", "api", "CLI", "retried, or beyond"),
    Key("leader", "preble:{pool}:leader", "string", "LEAD", "ROUTE, REAP", "its lease"),
    Key("leader_epoch", "preble:{pool}:leader_epoch", "string", "LEAD", "LEAD", "never"),
    Key("beat", "preble:{pool}:beat", "string", "LEAD", "LEAD", "never"),
    Key("rollback", "preble:{pool}:rollback", "hash", "LEAD", "LEAD", "never"),
    Key("confirmed", "preble:{pool}:confirmed", "string", "ADMIT", "nobody", "never"),
    Key("custody", "preble:{pool}:custody:{name}", "string", "CUSTODY", "CUSTODY", "its time"),
    Key("inbox", "preble:{pool}:inbox:{inbox}", "stream", "TELL, DONE, REAP", "api", "a minute"),
    Key("log", "preble:{pool}:log:{job}", "stream", "TELL", "api", "RETRY, with the job"),
    Key("signals", "preble:{pool}:signals", "stream", "ADMIT, DONE, REGISTER", "follow", "trimmed"),
    Key("instances", "preble:{pool}:instances", "zset", "REGISTER, RENEW", "ROUTE, REAP", "REAP"),
    Key("instance", "preble:{pool}:instance:{instance}", "hash", "REGISTER", "CLAIM", "REAP"),
    Key("drained", "preble:{pool}:drained", "zset", "DRAIN", "ROUTE, REAP, load", "RESUME"),
    Key("events", "preble:{pool}:events:{instance}", "stream", "publish", "follow", "REAP"),
    Key("snapshot", "preble:{pool}:snapshot:{instance}", "string", "publish", "follow", "REAP"),
    Key("doorbell", "preble:{pool}:doorbell:{instance}", "stream", "ROUTE", "worker", "REAP"),
    Key("recalls", "preble:{pool}:recalls:{instance}", "stream", "CANCEL, REAP", "worker", "REAP"),
    # RQ's.
    Key("queues", "rq:queues", "set", "ADMIT, REGISTER, REAP", "RQ", "ROUTE, PEEK, REAP"),
    Key("queue", "rq:queue:{queue}", "list", "ADMIT, ROUTE, CLAIM, REAP", "PEEK, RQ", "emptied"),
    Key("job", "rq:job:{job}", "hash", "all scripts", "VIEW, RQ", "result_ttl_s after its end"),
    Key("results", "rq:results:{job}", "stream", "DONE, REAP", "VIEW, RQ", "with the job"),
    Key("started", "rq:wip:{queue}", "zset", "CLAIM, DONE, REAP", "REGISTER, RQ", "emptied"),
    Key("finished", "rq:finished:{queue}", "zset", "DONE", "RQ", "REAP, by score"),
    Key("failed", "rq:failed:{queue}", "zset", "DONE, REAP", "RQ", "REAP, by score"),
    Key("canceled", "rq:canceled:{queue}", "zset", "CANCEL", "RQ", "REAP, by score"),
    Key("execution", "rq:execution:{composite}", "hash", "CLAIM", "RQ", "DONE, REAP"),
    Key("executions", "rq:executions:{job}", "zset", "CLAIM", "RQ", "DONE, REAP"),
    Key("worker", "rq:worker:{worker}", "hash", "CLAIM, RENEW, DONE", "RQ", "death or silence"),
    Key("worker_executions", "rq:worker:{worker}:executions", "set", "CLAIM, DONE", "RQ", "DONE"),
    Key("workers", "rq:workers", "set", "worker", "RQ", "RQ"),
    Key("queue_workers", "rq:workers:{queue}", "set", "worker", "RQ", "RQ"),
)

_TEMPLATES: Final = {key.name: key.template for key in KEYS}
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")

JOB_PREFIX_LENGTH: Final = 12


def job_prefix(pool: str) -> str:
    """How the ids of a pool's jobs begin: `job_` and eight hexadecimal digits."""
    return "job_" + sha256(pool.encode()).hexdigest()[: JOB_PREFIX_LENGTH - len("job_")]


class PoolKeys:
    """Key and queue names of one pool."""

    def __init__(self, pool: str) -> None:
        self.pool = pool

    def __call__(self, name: str, **arguments: str) -> str:
        """The key `name` of the table, its placeholders filled in."""
        return _TEMPLATES[name].format(pool=self.pool, **arguments)

    def ingress_queue(self, priority: Priority, tenant: str) -> str:
        """RQ queue that new jobs of one priority and tenant enter."""
        return f"{self.pool}.ingress.{priority}.{tenant}"

    def instance_queue(self, instance: str) -> str:
        """RQ queue of the jobs assigned to an instance; also the name of its RQ worker."""
        return f"{self.pool}.instance.{instance}"

    @property
    def quarantine_queue(self) -> str:
        """RQ queue of the waiting jobs that must run alone."""
        return f"{self.pool}.quarantine"

    def lua_functions(self) -> str:
        """The table as Lua: `k.job(id)`, `k.leases()`, and the names of queues."""
        lines = ["local k = {}"]
        lines += [self._lua_function(key) for key in KEYS]
        name = _lua_concatenation(self.instance_queue("{instance}"))
        lines.append(f"local function instance_queue(instance) return {name} end")
        lines.append(f"local quarantine_queue = '{self.quarantine_queue}'")
        lines.append(f"local pool_queues = '{self('queue', queue=f'{self.pool}.')}'")
        return "\n".join(lines)

    def _lua_function(self, key: Key) -> str:
        template = key.template.replace("{pool}", self.pool)
        arguments = ", ".join(_PLACEHOLDER.findall(template))
        return f"function k.{key.name}({arguments}) return {_lua_concatenation(template)} end"


def _lua_concatenation(template: str) -> str:
    """`rq:job:{job}` becomes `'rq:job:' .. job`."""
    parts = _PLACEHOLDER.split(template)
    pieces = [part if index % 2 else f"'{part}'" for index, part in enumerate(parts) if part]
    return " .. ".join(pieces)
