"""The experiments, one table. Each makes `results/NAME.jsonl`, `.md` and `.png`.

Numbers of requests are what queues and caches need to settle, within minutes on two cores:
docs/reference/experiments.md says how many.
"""

from typing import Final

from benchmarks.experiments.ablation import ABLATION
from benchmarks.experiments.batch import BATCH
from benchmarks.experiments.changes import CHANGES
from benchmarks.experiments.paper import LADDER, PAPER
from benchmarks.experiments.robustness import ROBUSTNESS
from benchmarks.experiments.stability import STABILITY
from benchmarks.experiments.tenants import TENANTS
from benchmarks.experiments.traces import TRACES
from benchmarks.experiments.workloads import WORKLOADS

_ALL = (PAPER, LADDER, TRACES, WORKLOADS, TENANTS, CHANGES, BATCH, STABILITY, ROBUSTNESS, ABLATION)

EXPERIMENTS: Final = {each.name: each for each in _ALL}
"""By name, in the order in which `all` runs them."""
