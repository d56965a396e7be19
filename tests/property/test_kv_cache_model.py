"""The KV cache against a slow model that is obviously right: a dict of prefixes."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from preble.messages import pack_tokens
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_cache import KvCache, RequestPages

PAGE = 2
CAPACITY = 6

Prefix = tuple[str, tuple[int, ...]]
"""A page, named by its salt and all tokens up to its end."""

prompts = st.lists(st.integers(0, 1), min_size=1, max_size=11)


@dataclass(eq=False)
class NaiveRequest:
    """A request and all its full pages by their prefixes."""

    pages: RequestPages
    prefixes: list[Prefix]
    held: int = 0
    reserved: int = 0


@dataclass
class NaiveCache:
    """Held prefixes with the time each was last released; recomputes everything."""

    released_at: dict[Prefix, int] = field(default_factory=dict[Prefix, int])
    running: list[NaiveRequest] = field(default_factory=list[NaiveRequest])
    now: int = 0

    def pinned(self) -> set[Prefix]:
        return {prefix for request in self.running for prefix in request.prefixes[: request.held]}

    def hits(self, request: NaiveRequest) -> int:
        most = (request.pages.prompt_tokens - 1) // PAGE
        held = [prefix in self.released_at for prefix in request.prefixes[:most]]
        return next((index for index, is_held in enumerate(held) if not is_held), most)

    def reserve(self, request: NaiveRequest) -> bool:
        hits = self.hits(request)
        need = request.pages.total_pages - hits
        pinned = self.pinned() | set(request.prefixes[:hits])
        reserved = sum(other.reserved for other in self.running)
        if len(pinned) + reserved + need > CAPACITY:
            return False
        request.held, request.reserved = hits, need
        self.running.append(request)
        while len(self.released_at) + reserved + need > CAPACITY:
            self.evict_one()
        return True

    def evict_one(self) -> None:
        pinned = self.pinned()
        leaves = [
            (salt, tokens)
            for salt, tokens in self.released_at
            if (salt, tokens) not in pinned
            and not any(
                other_salt == salt and len(other) == len(tokens) + PAGE and is_prefix(tokens, other)
                for other_salt, other in self.released_at
            )
        ]
        del self.released_at[min(leaves, key=lambda leaf: self.released_at[leaf])]

    def store(self, request: NaiveRequest, computed_tokens: int) -> None:
        while (request.held + 1) * PAGE <= computed_tokens:
            self.released_at.setdefault(request.prefixes[request.held], self.now)
            request.held += 1
            request.reserved -= 1

    def release(self, request: NaiveRequest) -> None:
        self.now += 1
        self.running.remove(request)
        for prefix in set(request.prefixes[: request.held]) - self.pinned():
            self.released_at[prefix] = self.now


def is_prefix(tokens: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return other[: len(tokens)] == tokens


class KvCacheMachine(RuleBasedStateMachine):
    """Requests come, grow and go; the events are read now and then."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.cache = KvCache(capacity_pages=CAPACITY, page_size=PAGE)
        self.naive = NaiveCache()
        self.names: dict[int, Prefix] = {}
        self.told: dict[int, int | None] = {}

    @rule(target=requests, prompt=prompts, output=prompts, salt=st.sampled_from(["", "s"]))
    def start(self, prompt: list[int], output: list[int], salt: str) -> NaiveRequest | None:
        ids = (*prompt, *output)
        pages = self.cache.pages_of(pack_tokens(ids), prompt_tokens=len(prompt), cache_salt=salt)
        ends = range(PAGE, len(ids) + 1, PAGE)
        prefixes: list[Prefix] = [(salt, ids[:end]) for end in ends]
        self.names.update(zip(pages.page_hashes, prefixes, strict=True))
        request = NaiveRequest(pages, prefixes)
        assert self.cache.hit_pages(pages) == self.naive.hits(request)
        fits = self.naive.reserve(request)
        assert self.cache.reserve(pages) == fits
        return request if fits else None

    @rule(request=requests, more=st.integers(0, 12))
    def grow(self, request: NaiveRequest | None, more: int) -> None:
        if request in self.naive.running:
            computed = min(request.held * PAGE + more, len(request.pages.tokens) // 4)
            self.naive.store(request, computed)
            self.cache.store(request.pages, computed)

    @rule(request=consumes(requests))
    def end(self, request: NaiveRequest | None) -> None:
        if request is not None:
            self.naive.release(request)
            self.cache.release(request.pages)

    @precondition(lambda self: not self.naive.running)
    @rule()
    def clear(self) -> None:
        self.naive.released_at.clear()
        self.cache.clear()

    @rule()
    def read_events(self) -> None:
        for event in self.cache.take_events():
            self.replay(event)
        assert {self.names[told] for told in self.told} == self.naive.released_at.keys()

    @invariant()
    def holds_the_same(self) -> None:
        self.cache.check_invariants()
        assert self.cache.held_pages == len(self.naive.released_at) <= CAPACITY

    def replay(self, event: PageEvent) -> None:
        """Fold one event; what is told is prefix-closed after each."""
        match event:
            case PagesStored():
                parent = event.parent_hash
                for page_hash in event.page_hashes:
                    assert page_hash not in self.told
                    assert parent is None or parent in self.told
                    self.told[page_hash] = parent
                    parent = page_hash
            case PagesRemoved():
                for page_hash in event.page_hashes:
                    del self.told[page_hash]
                assert all(parent is None or parent in self.told for parent in self.told.values())
            case AllPagesCleared():
                self.told.clear()


TestKvCache = KvCacheMachine.TestCase
TestKvCache.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
