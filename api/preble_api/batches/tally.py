"""Counts, usage and errors of a batch, as its part files say: never more, never less."""

from collections import Counter

from preble_api.batches.lines import Written
from preble_api.batches.schemas import BatchError, BatchUsage, InputTokens, RequestCounts

MOST_CODES = 10


class Tally:
    """What was written so far."""

    def __init__(self) -> None:
        self.done: set[int] = set()
        """Numbers of the lines that were written."""
        self._failed: Counter[str] = Counter()
        self._messages: dict[str, str] = {}
        self._input_tokens = self._output_tokens = self._cached_tokens = 0

    def add(self, written: Written) -> None:
        """One more line."""
        self.done.add(written.number)
        if written.error is not None:
            self._failed[written.error.code] += 1
            self._messages.setdefault(written.error.code, written.error.message)
        elif written.usage is not None:
            self._input_tokens += written.usage.input_tokens
            self._output_tokens += written.usage.output_tokens
            self._cached_tokens += written.usage.input_tokens_details.cached_tokens

    @property
    def num_failed(self) -> int:
        """Lines of the error file."""
        return self._failed.total()

    @property
    def num_completed(self) -> int:
        """Lines of the output file."""
        return len(self.done) - self.num_failed

    def counts(self, total: int) -> RequestCounts:
        """Of a batch of so many lines."""
        return RequestCounts(total, self.num_completed, self.num_failed)

    def usage(self) -> BatchUsage:
        """Tokens of the lines that completed."""
        return BatchUsage(
            self._input_tokens, self._output_tokens, self._input_tokens + self._output_tokens,
            InputTokens(self._cached_tokens),
        )  # fmt: skip

    def errors(self) -> tuple[BatchError, ...]:
        """The most frequent codes of the error file, each with its number and first message."""
        return tuple(
            BatchError(code, f"{number} lines, the first: {self._messages[code]}")
            for code, number in self._failed.most_common(MOST_CODES)
        )
