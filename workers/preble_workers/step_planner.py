"""Continuous batching without time: what goes into an engine's next step, and what it yields.

A step computes one token for each request that decodes, and beside them up to `chunk_tokens`
tokens of prompts, first come first served, so long prompts take several steps (chunked
prefill, as in Sarathi):

    step 1   [prefill A: 2048 of 3000]
    step 2   [prefill A: 952][prefill B: 1096 of 1500]        A yields its first token
    step 3   [decode A][prefill B: 404]                       B yields its first token
    step 4   [decode A][decode B]

A request is admitted when a slot is free, its whole KV need fits (`KvCache.reserve`), and the
step has prefill to give. Not earlier: meanwhile others may compute a prefix it can then hit.
"""

from dataclasses import dataclass

from preble_workers.kv_cache import KvCache, RequestPages


@dataclass(slots=True, eq=False)
class Run:
    """One request's stay in the engine. The planner alone changes it."""

    pages: RequestPages
    output_tokens: int
    """To be produced."""
    hit_tokens: int = 0
    computed_tokens: int = 0
    """Tokens whose KV is there: hit or computed."""
    produced_tokens: int = 0
    first_token_at_s: float = 0.0

    @property
    def missing_prompt_tokens(self) -> int:
        """Prompt tokens yet to be computed; 0 or less once the run decodes."""
        return self.pages.prompt_tokens - self.computed_tokens


@dataclass(frozen=True, slots=True)
class Share:
    """What one step computes of one run."""

    run: Run
    new_tokens: int

    @property
    def context_tokens(self) -> int:
        """Tokens attended to, with the new ones."""
        return self.run.computed_tokens + self.new_tokens


class StepPlanner:
    """Runs that wait and run in an engine; `plan` and `complete` take turns."""

    def __init__(self, kv_cache: KvCache, *, slots: int, chunk_tokens: int) -> None:
        self._kv_cache = kv_cache
        self._slots = slots
        self._chunk_tokens = chunk_tokens
        # Dicts as ordered sets: a run may be removed from the middle.
        self._waiting: dict[Run, None] = {}
        self._running: dict[Run, None] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._waiting and not self._running

    def add(self, run: Run) -> None:
        """Queue a run whose pages fit an empty cache. Changes: this planner."""
        self._waiting[run] = None

    def remove(self, run: Run) -> None:
        """Forget a run, wherever it is, and release its pages; unknown runs do no harm."""
        self._waiting.pop(run, None)
        self._running.pop(run, None)
        self._kv_cache.release(run.pages)

    def plan(self) -> list[Share]:
        """The next step. Empty only when idle.

        Changes: admits waiting runs; may evict pages.
        Cost: O(running runs + pages of the admitted).
        """
        decoding = [run for run in self._running if run.missing_prompt_tokens <= 0]
        prefilling = [run for run in self._running if run.missing_prompt_tokens > 0]
        shares = [Share(run, 1) for run in decoding]
        budget_tokens = self._chunk_tokens
        while budget_tokens > 0:
            run = prefilling.pop(0) if prefilling else self._admit()
            if run is None:
                break
            share = Share(run, min(budget_tokens, run.missing_prompt_tokens))
            budget_tokens -= share.new_tokens
            shares.append(share)
        return shares

    def complete(self, step: list[Share], now_s: float) -> list[Run]:
        """Account for a step that has been computed.

        Args:
            step: From `plan`; runs removed since are skipped.
            now_s: When it ended.

        Returns:
            Runs that have produced all of their output; they are no longer here.

        Changes: stores full pages in the KV cache.
        """
        finished: list[Run] = []
        for share in step:
            if share.run not in self._running:
                continue
            self._advance(share, now_s)
            if share.run.produced_tokens >= share.run.output_tokens:
                finished.append(share.run)
        for run in finished:
            self.remove(run)
        return finished

    def _admit(self) -> Run | None:
        """Move the first waiting run in, if it fits; nobody overtakes it."""
        run = next(iter(self._waiting), None)
        if run is None or len(self._running) >= self._slots:
            return None
        if not self._kv_cache.reserve(run.pages):
            return None
        del self._waiting[run]
        self._running[run] = None
        run.hit_tokens = run.computed_tokens = run.pages.held_pages * self._kv_cache.page_size
        return run

    def _advance(self, share: Share, now_s: float) -> None:
        """The step that ends a prompt yields the first output token, without KV as yet."""
        run = share.run
        run.computed_tokens += share.new_tokens
        if run.missing_prompt_tokens <= 0:
            run.produced_tokens += 1
            if run.produced_tokens == 1:
                run.first_token_at_s = now_s
        self._kv_cache.store(run.pages, run.computed_tokens)
