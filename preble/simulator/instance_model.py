"""One engine on virtual time: continuous batching with chunked prefill, and its KV cache.

Time passes in *stretches*. A stretch is one step with prefill in it, or as many pure decode
steps as pass before anything can change:

    [prefill A][A decodes, B prefills][A and B decode, 212 steps][B decodes, 40 steps]
                                                                 A ended

A stretch of decodes ends when a request does, when memory must be evicted, or at the step
during which a request arrives. Its duration is a closed form, and the progress of decoding
requests is one counter of steps for all, so that a stretch costs the same for one step and
for a thousand, for one request and for all slots.

Where the emulated engine of the workers (`step_planner`) says something, this says the same:
a request is admitted when a slot is free, its KV need fits and the step has prefill to give;
nobody overtakes the next in the wait queue; at least one token of a prompt is computed.
Beyond it: two kinds of steps, orders of waiting, and memory that is promised in part only.

**Memory.** A request is admitted if its prompt and the `output_reserve` of its output fit
beside the same of all that run. If memory runs out all the same, the youngest running request
is *retracted*: it waits again, before all others, and what is not cached then is computed
again. It needs more than it gave back, so it stays out until another ends; and the oldest is
never sent back, so there is always one that will.
"""

import math
from itertools import count

from preble.cost_model import CostModel
from preble.messages import BlockEvent
from preble.simulator.decodes import Decodes
from preble.simulator.durations import Durations
from preble.simulator.kv_blocks import KvBlocks
from preble.simulator.run import EngineSettings, Run
from preble.wait_queue import WaitQueue


class InstanceModel:
    """A deterministic engine on virtual time.

    `end_s` is when the present stretch ends; then `advance` is due. Both times and durations
    are seconds.

    Args:
        settings: What the engine is.
        cost_model: Predicts how long a step takes.
        block_size: Tokens in a block of the workload.
        speed: How many times faster than predicted it runs, > 0.
    """

    def __init__(
        self, settings: EngineSettings, cost_model: CostModel, *, block_size: int, speed: float
    ) -> None:
        self.kv = KvBlocks(capacity_tokens=settings.kv_capacity_tokens, block_size=block_size)
        self.end_s = math.inf
        self.busy_s = 0.0
        self.prefilled_tokens = 0
        self.retractions = 0
        self._settings = settings
        self._durations = Durations(cost_model, speed=speed)
        self._next_speed = speed
        self._waiting: WaitQueue[Run] = WaitQueue(settings.wait_order, self._hit_tokens)
        # Dicts as ordered sets: the last admitted stands last.
        self._running: dict[Run, None] = {}
        self._prefilling: dict[Run, None] = {}
        self._decodes = Decodes()
        self._admissions = count(1)
        self._decode_tokens = 0  # of what prefills
        self._start_s = 0.0
        self._num_steps = 0
        self._shares: list[tuple[Run, int]] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return self.end_s == math.inf

    @property
    def num_waiting(self) -> int:
        """Requests in the wait queue."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Requests in the engine's batch."""
        return len(self._running)

    def submit(self, run: Run, now_s: float) -> None:
        """Let a run wait, one that fits; it is looked at when the step of now has ended."""
        self._waiting.push(run, prompt_tokens=run.request.prompt_tokens)
        if self.is_idle:
            self._start_s = self.end_s = now_s
        elif self._num_steps > 1 and self._may_cut():
            self._cut(now_s)

    def advance(self) -> list[Run]:
        """End the present stretch, which ends now, and begin the next.

        Returns:
            Runs that have ended with it, in the order of their admission.
        """
        now_s = self.end_s
        ended = self._complete(now_s)
        if self.kv.has_events:
            self._waiting.cache_changed()
        self._begin(now_s)
        self.kv.check()
        return ended

    def take_events(self) -> tuple[BlockEvent, ...]:
        """Blocks stored by the stretch that ended, then those evicted for the one that began."""
        events = self.kv.take_events()
        if events:
            self._waiting.cache_changed()
        return events

    def busy_until(self, now_s: float) -> float:
        """Seconds it has been busy, with those of the present stretch."""
        return self.busy_s if self.is_idle else self.busy_s + now_s - self._start_s

    def change_speed(self, speed: float, now_s: float) -> None:
        """Be so many times faster than predicted, from the end of the present step on."""
        if self._num_steps > 1:
            self._cut(now_s)
        self._next_speed = speed

    def die(self, now_s: float) -> list[Run]:
        """Stop for ever. Returns: what ran, in the order of admission, then what waited."""
        self.busy_s = self.busy_until(now_s)
        self.end_s = math.inf
        return [*self._running, *self._waiting]

    # A stretch ends.

    def _may_cut(self) -> bool:
        """Whether the run that has just come could start earlier; others that wait could not."""
        return len(self._waiting) == 1 and len(self._running) < self._settings.slots

    def _cut(self, now_s: float) -> None:
        """End a stretch of decodes with the step in which now is."""
        passed = self._durations.decode_steps_within(self._decodes, now_s - self._start_s)
        if passed + 1 < self._num_steps:
            self._num_steps = passed + 1
            self.end_s = self._start_s + self._durations.decodes_s(self._decodes, self._num_steps)

    def _complete(self, now_s: float) -> list[Run]:
        self.busy_s += now_s - self._start_s
        if self._num_steps > 1:
            self._begin_decodes(self._num_steps - 1)
        ended = self._decodes.pop_ended()
        ended += [run for run, tokens in self._shares if self._is_ended_by(run, tokens, now_s)]
        for run in ended:
            self._end(run, now_s)
        self._num_steps = 0
        self._shares = []
        return ended

    def _begin_decodes(self, num_steps: int) -> None:
        self.kv.take(self._decodes.num * num_steps)
        self._decodes.begin_steps(num_steps)

    def _is_ended_by(self, run: Run, tokens: int, now_s: float) -> bool:
        """Account for a share; the step that ends a prefill yields a token."""
        run.computed_tokens += tokens
        end = min(run.computed_tokens // self.kv.block_size, len(run.keys))
        if end > run.held_blocks:
            self.kv.store(run.keys, run.request.block_keys, run.held_blocks, end)
            run.held_blocks = end
        if run.missing_tokens:
            return False
        del self._prefilling[run]
        self._decode_tokens -= run.decode_tokens
        run.produced_tokens += 1
        if run.produced_tokens == 1:
            run.first_token_at_s = now_s
        if run.produced_tokens >= run.request.output_tokens:
            return True
        self._decodes.add(run)
        return False

    def _end(self, run: Run, now_s: float) -> None:
        self._release(run)
        run.ended_at_s = now_s
        run.check()

    def _release(self, run: Run) -> None:
        del self._running[run]
        private_tokens = run.computed_tokens - run.held_blocks * self.kv.block_size
        self.kv.release(run.keys, run.held_blocks, private_tokens)
        run.admission = run.held_blocks = 0

    # A stretch begins.

    def _begin(self, now_s: float) -> None:
        self._start_s = now_s
        self._durations.speed = self._next_speed
        has_decodes = self._take_step()
        while not (has_decodes or self._shares) and self._running:
            self._retract()  # prefills block each other
            has_decodes = self._take_step()
        if self._shares:
            decodes = self._decodes if has_decodes else None
            self.end_s = now_s + self._durations.step_s(self._shares, decodes)
        elif has_decodes:
            self._num_steps = self._steps_until_change()
            self.end_s = now_s + self._durations.decodes_s(self._decodes, self._num_steps)
        else:
            self.end_s = math.inf

    def _take_step(self) -> bool:
        """Give memory to what the next step computes. Returns: whether it has decodes."""
        if self._settings.steps == "prefill_first":
            self._take_prefills()
            return not self._shares and self._take_decodes()
        has_decodes = self._take_decodes()
        self._take_prefills()
        return has_decodes

    def _take_decodes(self) -> bool:
        while self.kv.available_tokens < self._decodes.num:
            self._retract()
        self._begin_decodes(1)
        return self._decodes.num > 0

    def _take_prefills(self) -> None:
        """Share out the chunk: first to prefills under way, then to new requests."""
        budget_tokens = self._settings.chunk_tokens
        for run in self._prefilling:
            budget_tokens -= self._take_share(run, budget_tokens)
        while budget_tokens > 0 and (admitted := self._admit()):
            budget_tokens -= self._take_share(admitted, budget_tokens)

    def _take_share(self, run: Run, budget_tokens: int) -> int:
        tokens = min(budget_tokens, run.missing_tokens, self.kv.available_tokens)
        if tokens > 0:
            self.kv.take(tokens)
            self._shares.append((run, tokens))
            run.note_share(tokens)
            self.prefilled_tokens += tokens
        return tokens

    def _admit(self) -> Run | None:
        """Move the next waiting run in, if it fits."""
        if len(self._running) >= self._settings.slots:
            return None  # nor is one chosen: hits may have changed when a slot is free
        run = self._waiting.peek()
        if run is None:
            return None
        hits = self._hit_blocks(run)
        if not self._has_room(run, hits):
            return None
        self._waiting.pop()
        self.kv.pin(run.keys[:hits])
        self._running[run] = self._prefilling[run] = None
        self._note_admission(run, hits)
        return run

    def _has_room(self, run: Run, hits: int) -> bool:
        block_size, share = self.kv.block_size, self._settings.output_reserve
        promised = self._decode_tokens + self._decodes.promised_tokens
        pinned = self.kv.unpinned_blocks(run.keys, hits) * block_size
        # Prefills under way miss nothing beyond this step, or there is no memory left for it.
        need = run.prefill_end - hits * block_size
        need += math.ceil(share * (run.decode_tokens + promised))
        return pinned + need <= self.kv.available_tokens

    def _note_admission(self, run: Run, hits: int) -> None:
        run.admission = next(self._admissions)
        run.held_blocks = hits
        run.note_hits(hits * self.kv.block_size)
        if not run.prefilled_tokens:
            run.admitted_at_s = self._start_s
        self._decode_tokens += run.decode_tokens

    def _retract(self) -> None:
        """Send the youngest back to wait before all others."""
        run = next(reversed(self._running))
        if run in self._prefilling:
            del self._prefilling[run]
            self._decode_tokens -= run.decode_tokens
        else:
            self._decodes.take_out(run)
            run.prefill_end = run.reached_tokens = run.computed_tokens + 1
        self._release(run)
        self._waiting.push_front(run)
        self.retractions += 1

    def _steps_until_change(self) -> int:
        """Decode steps, with the one begun, until a run ends or memory must be evicted."""
        before_eviction = 1 + self.kv.free_tokens // self._decodes.num
        return min(self._decodes.steps_until_end, before_eviction)

    def _hit_blocks(self, run: Run) -> int:
        """Blocks it may take over: at least one token of its prefill must be computed."""
        most = min((run.prefill_end - 1) // self.kv.block_size, len(run.keys))
        return self.kv.held_blocks(run.keys, 0, most)

    def _hit_tokens(self, run: Run) -> int:
        return self._hit_blocks(run) * self.kv.block_size
