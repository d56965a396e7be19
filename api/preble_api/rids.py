"""SGLang's request ids: the client's own names for what it asks `/generate`.

A rid that is a UUID names its job as an `Idempotency-Key` does: the job's id follows from tenant
and rid, so any api process finds it, and nothing else is kept. Other rids may be used again for
something else, and are only repeated to the client. Of a list, `<UUID>_0` names the first (ADR
0029).
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from preble.messages import JobId, Submission
from preble_api.job_ids import JobIds

_UUID: Final = re.compile(
    r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}(_\d{1,4})?", re.IGNORECASE
)


def named_by_rids(
    submissions: Sequence[Submission], rids: Sequence[str | None], fingerprint: str, ids: JobIds
) -> list[Submission]:
    """The jobs of a request, under the ids that their rids give them, as far as these can.

    Args:
        submissions: Its jobs.
        rids: Of each.
        fingerprint: Of the request.
        ids: Of the pool.
    """
    return [
        replace(each, job_id=job_id_of_rid(ids, each.spec.tenant, rid), fingerprint=fingerprint)
        if rid and names_a_job(rid)
        else each
        for each, rid in zip(submissions, rids, strict=True)
    ]


def names_a_job(rid: str) -> bool:
    """Whether nobody else can have thought of it."""
    return _UUID.fullmatch(rid) is not None


def job_id_of_rid(ids: JobIds, tenant: str, rid: str) -> JobId:
    """The id of the job that a tenant calls so."""
    # A key of a request has three parts, so that the two never meet.
    name = f"{tenant}\0{rid}"
    return ids.keyed(rid, sha256(name.encode()).hexdigest())
