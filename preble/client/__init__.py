"""A client of the HTTP api: submit jobs, watch them, fetch their results.

    with Client("http://127.0.0.1:8000") as client:
        ids = client.submit([{"prompt": "Two and two is"}])
        for job in client.wait(ids):
            print(job.result)

What may be tried again is tried again, with growing, jittered pauses, and never sooner than
the api asks for. That makes no job twice: all attempts of a submission carry one
`Idempotency-Key`, and so does a later one if `submit` is given the key that the error named.

    exchange, retries, attempts   one request and its attempts
    calls, replies                what is asked and what is answered
    looks, watch, flow, events    many jobs, and one as it goes on
    sync, aio                     the two clients; their shells alone do I/O
"""

from preble.client.aio import AsyncClient
from preble.client.calls import MAX_JOBS_PER_PAGE, JobFields, calls
from preble.client.errors import (
    JobUnknown,
    RequestRefused,
    ServerUnreachable,
    SubmissionUncertain,
    UnexpectedReply,
    WaitTimeout,
)
from preble.client.events import EndEvent, JobEvent, StateEvent, TextEvent
from preble.client.flow import Flow, Outcome
from preble.client.keys import dated_key
from preble.client.prefix_order import in_prefix_order
from preble.client.replies import (
    Failure,
    HitPrediction,
    Job,
    LikelyToken,
    OutputLogprob,
    Placement,
    Result,
    Usage,
)
from preble.client.sync import Client
from preble.client.watch import JobWatch

__all__ = [
    "MAX_JOBS_PER_PAGE",
    "AsyncClient",
    "Client",
    "EndEvent",
    "Failure",
    "Flow",
    "HitPrediction",
    "Job",
    "JobEvent",
    "JobFields",
    "JobUnknown",
    "JobWatch",
    "LikelyToken",
    "Outcome",
    "OutputLogprob",
    "Placement",
    "RequestRefused",
    "Result",
    "ServerUnreachable",
    "StateEvent",
    "SubmissionUncertain",
    "TextEvent",
    "UnexpectedReply",
    "Usage",
    "WaitTimeout",
    "calls",
    "dated_key",
    "in_prefix_order",
]
