"""A client of the HTTP api: submit jobs, watch them, fetch their results.

    with PrebleClient("http://127.0.0.1:8000") as client:
        ids = client.submit([{"prompt": "Two and two is"}])
        for job in client.wait(ids):
            print(job.result)

What may be tried again is tried again, with growing, jittered pauses, and never sooner than
the api asks for. A submission is repeated after 429 and 503; a 503 may in
rare cases, when only the queue's answer was lost, have been accepted all the same.
"""

from preble.client.errors import (
    JobUnknown,
    RequestRefused,
    ServerUnreachable,
    SubmissionUncertain,
    UnexpectedReply,
    WaitTimeout,
)
from preble.client.http import JobFields, PrebleClient, calls
from preble.client.prefix_order import in_prefix_order
from preble.client.replies import Failure, HitPrediction, Job, Placement, Result, Usage
from preble.client.watch import JobWatch

__all__ = [
    "Failure",
    "HitPrediction",
    "Job",
    "JobFields",
    "JobUnknown",
    "JobWatch",
    "Placement",
    "PrebleClient",
    "RequestRefused",
    "Result",
    "ServerUnreachable",
    "SubmissionUncertain",
    "UnexpectedReply",
    "Usage",
    "WaitTimeout",
    "calls",
    "in_prefix_order",
]
