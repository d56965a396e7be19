"""What the simulator replays: workloads drawn by generators or read from traces."""

from preble.simulator.workload.generators import WORKLOADS, create_workload
from preble.simulator.workload.request import (
    TimedRequest,
    Workload,
    as_batch,
    by_prefix_order,
    head,
    thin,
    with_burst,
    with_load,
)
from preble.simulator.workload.statistics import Spread, WorkloadStatistics, describe
from preble.simulator.workload.traces import load_trace

__all__ = [
    "WORKLOADS",
    "Spread",
    "TimedRequest",
    "Workload",
    "WorkloadStatistics",
    "as_batch",
    "by_prefix_order",
    "create_workload",
    "describe",
    "head",
    "load_trace",
    "thin",
    "with_burst",
    "with_load",
]
