"""AIBrix's `prefix-cache-preble`: a part of the Preble paper, as its users meet it.

    held > 0.5 of the prompt    of the instances that hold most, the one with the fewest
                                requests in the window
    else                        the one of least window cost

    window cost = sum over the nodes that an instance took requests of, in 3 minutes, of
                  miss rate * requests * PrefillTime(own run) / instances of the node
                  + 45 tokens * 0.15 s

A node is where a prompt ended; its own run is what of it was new when it first came, and its
miss rate the run's part of the prompt, so an exact repeat counts as missed again. A request
adds its instance to the nodes of all its prefixes. The decode term is one constant for each
node, whatever came to it: it outweighs most prefills. That is the peer's behaviour, kept.

Source: AIBrix, prefix_cache_preble.go. Differs: what is held is known (there: what was routed
in the last 5 minutes); PrefillTime is the instances' cost model (there: Mistral-7B on a V100,
unless told otherwise); an instance that goes is dropped at once (there: when their number
changes). Costs are running sums, where theirs walk all nodes for every request: whole
microseconds, so that they come back to exactly zero.
"""

from collections import Counter, OrderedDict
from typing import Final

import numpy as np

from preble.history import Column
from preble.messages import InstanceId, JobId
from preble.policy.choice import Choice, Options, Rule, cheapest

WINDOW_S: Final = 180.0
MATCH_RATE: Final = 0.5
NODE_DECODE_S: Final = 45 * 0.15
"""Output tokens assumed, times seconds assumed for each."""

_US_PER_S: Final = 1_000_000

_NodeName = int | str
"""Last block key of a prompt; the job, if its prompt fills no block."""


class _Node:
    """Requests of one prompt in the window. `Histogram` alone changes it."""

    __slots__ = ("instances", "requests", "run_s")

    def __init__(self, run_s: float) -> None:
        self.run_s = run_s
        """Seconds to prefill its own run, times its miss rate."""
        self.requests = 0
        self.instances: set[InstanceId] = set()

    @property
    def cost_us(self) -> int:
        """Its part of the cost of each of its instances."""
        if not self.requests:
            return 0
        prefill_s = self.requests * self.run_s / len(self.instances)
        return round(_US_PER_S * (prefill_s + NODE_DECODE_S))


class Histogram:
    """The window: nodes, and what they add up to on each instance.

    Memory is bounded by the requests of the window.
    """

    def __init__(self) -> None:
        self.requests: Counter[InstanceId] = Counter()
        """Of the nodes that an instance took requests of, also those that went elsewhere."""
        self.cost_us: Counter[InstanceId] = Counter()
        self._nodes: dict[_NodeName, _Node] = {}
        self._placed: OrderedDict[JobId, tuple[float, _NodeName]] = OrderedDict()

    def keep_only(self, live: set[InstanceId]) -> None:
        """Drop instances that are gone. Cost: O(nodes) if some are, else O(instances)."""
        gone = self.requests.keys() - live
        if not gone:
            return
        for node in self._nodes.values():
            self._count(node, -1)
            node.instances -= gone
            self._count(node, 1)

    def expire(self, now_s: float) -> None:
        """Forget what is older than the window. Cost: amortized O(instances) a request."""
        while self._placed:
            job_id, (at_s, _) = next(iter(self._placed.items()))
            if at_s > now_s - WINDOW_S:
                return
            name = self.forget(job_id)
            if name is not None and not self._nodes[name].requests:
                del self._nodes[name]

    def forget(self, job_id: JobId) -> _NodeName | None:
        """A request was only planned, or is placed anew. Returns its node; None if unknown.

        The node stays, for the run of a prompt that comes again is no other one.
        """
        _, name = self._placed.pop(job_id, (0.0, None))
        if name is not None:
            self._add(name, -1)
        return name

    def place(self, options: Options, instance_id: InstanceId) -> None:
        """A request goes to an instance. Cost: O(blocks of its prompt)."""
        name: _NodeName = options.keys[-1] if options.keys else options.job_id
        if name not in self._nodes:
            self._nodes[name] = _Node(_run_s(options))
        self._placed[options.job_id] = options.now_s, name
        self._add(name, 1)
        for each in {*options.keys, name} & self._nodes.keys():
            self._join(self._nodes[each], instance_id)

    # Helpers.

    def _add(self, name: _NodeName, requests: int) -> None:
        node = self._nodes[name]
        self._count(node, -1)
        node.requests += requests
        self._count(node, 1)

    def _join(self, node: _Node, instance_id: InstanceId) -> None:
        if instance_id not in node.instances:
            self._count(node, -1)
            node.instances.add(instance_id)
            self._count(node, 1)

    def _count(self, node: _Node, sign: int) -> None:
        """Add a node to the sums of its instances, or take it away; what sums to 0 goes."""
        for each in node.instances:
            self.requests[each] += sign * node.requests
            self.cost_us[each] += sign * node.cost_us
            if not self.cost_us[each]:
                del self.requests[each], self.cost_us[each]


def aibrix_preble() -> Rule:
    """The longest match if it is most of the prompt, else the least window cost."""
    histogram = Histogram()

    def choose(options: Options) -> Choice:
        ids = options.fleet.ids
        histogram.keep_only(set(ids))
        histogram.expire(options.now_s)
        histogram.forget(options.job_id)
        choice = _choose(options, ids, histogram)
        histogram.place(options, ids[choice.row])
        return choice

    return Rule("aibrix_preble", choose)


def _choose(options: Options, ids: list[InstanceId], histogram: Histogram) -> Choice:
    most = max(options.hits)
    if most > MATCH_RATE * options.prompt_tokens:
        requests = np.array([histogram.requests[each] for each in ids], dtype=float)
        load: Column = np.where(options.hit_tokens == most, requests, np.inf)
        return Choice(cheapest(load, options.outstanding), "longest_prefix", requests)
    cost: Column = np.array([histogram.cost_us[each] for each in ids]) / _US_PER_S
    return Choice(cheapest(cost, options.outstanding), "least_window_cost", cost)


def _run_s(options: Options) -> float:
    """Of a prompt that comes for the first time: as the first instance would compute it."""
    prompt_tokens = options.prompt_tokens
    known_tokens = min(options.match.depth * options.fleet.block_size, prompt_tokens - 1)
    run_tokens = prompt_tokens - known_tokens
    run_s = options.fleet.rows[0].cost_model.prefill_s(run_tokens, prompt_tokens)
    return run_s * run_tokens / prompt_tokens
