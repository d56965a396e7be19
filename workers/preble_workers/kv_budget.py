"""KV memory that the jobs in an engine need: pages that several share count once.

An engine holds a shared prefix once, however many run on it. To count it for each of them would
leave most of the memory, and of the slots, unused where prompts share documents.
"""

from collections import Counter

from preble_workers.hit_predictor import PromptPages


class KvBudget:
    """What is needed by jobs that have begun and not ended.

    Args:
        capacity_tokens: Of the engine's KV cache.
        page_size: Tokens in a page.
    """

    def __init__(self, capacity_tokens: int, page_size: int) -> None:
        self._capacity_tokens = capacity_tokens
        self._page_size = page_size
        self._users: Counter[int] = Counter()
        self.free_tokens = capacity_tokens

    @property
    def used_tokens(self) -> int:
        """What they need together."""
        return self._capacity_tokens - self.free_tokens

    def needed_tokens(self, pages: PromptPages, total_tokens: int) -> int:
        """What a job would need beside those that run. Cost: O(pages)."""
        shared = sum(key in self._users for key in pages.keys)
        return total_tokens - shared * self._page_size

    def begin(self, pages: PromptPages, total_tokens: int) -> None:
        """A job begins. Cost: O(pages)."""
        self.free_tokens -= self.needed_tokens(pages, total_tokens)
        self._users.update(pages.keys)

    def end(self, pages: PromptPages, total_tokens: int) -> None:
        """It has ended. Cost: O(pages)."""
        for key in pages.keys:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
        self.free_tokens += self.needed_tokens(pages, total_tokens)
