"""What was sent, what came back, and what is wrong with it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from fuzz.replies import accepted_ids, faults
from fuzz.wire import Exchange

_MOST_SHOWN: Final = 20
_NO_REPLY: Final = 0


@dataclass(slots=True)
class Report:
    """Of one run. `faults` is empty if all is well."""

    by_kind: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])
    accepted: set[str] = field(default_factory=set[str])
    untold_jobs: int = 0
    longest_s: float = 0.0
    notes: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])

    def add(self, number: int, exchange: Exchange) -> None:
        """Take in what came of one request."""
        shot, reply = exchange.shot, exchange.reply
        counts = self.by_kind.setdefault(shot.kind, Counter())
        counts[reply.status if reply else _NO_REPLY] += 1
        self.untold_jobs += shot.untold_jobs + (reply is None)
        self.longest_s = max(self.longest_s, exchange.seconds)
        self.accepted.update(accepted_ids(exchange))
        sent = b"".join(shot.pieces)[:300]
        self.faults += [f"{number} {shot.kind}: {each}\n    {sent!r}" for each in faults(exchange)]

    @property
    def requests(self) -> int:
        """Sent so far."""
        return sum(counts.total() for counts in self.by_kind.values())

    def __str__(self) -> str:
        """For people."""
        kinds = [f"  {kind:18} {_line(counts)}" for kind, counts in sorted(self.by_kind.items())]
        total = sum(self.by_kind.values(), Counter[int]())
        lines = [f"{self.requests:,} requests", *kinds, f"  {'all':18} {_line(total)}"]
        lines += [*self.notes, f"{len(self.faults)} faults", *self.faults[:_MOST_SHOWN]]
        return "\n".join(lines)


def _line(counts: Counter[int]) -> str:
    parts = [f"{status or 'none'}: {number:,}" for status, number in sorted(counts.items())]
    return f"{counts.total():6,}   " + "  ".join(parts)
