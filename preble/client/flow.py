"""Any number of items through an api, a bounded number of them at once. Pure.

items ──hand_over──▶ open ──look──▶ ended ──take──▶ (item, outcome)
        as many as there is room for          as they end, or in the order of the items
"""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, Generic, TypeAlias, TypeVar, cast

import msgspec

from preble.client.calls import Calls, JobFields, has_room
from preble.client.errors import RequestRefused
from preble.client.exchange import Program
from preble.client.looks import Looks
from preble.client.replies import Job
from preble.client.watch import job_missing

Outcome: TypeAlias = Job | RequestRefused
"""What became of an item: its job, which has ended however, or why there is none."""

MOST_AT_ONCE: Final = 256
"""Items handed over in one call."""

_ROOM_IF_ORDERED: Final = 4
"""What is open or waits for those before it, in numbers of what may be open."""

_PLACE: Final = re.compile(r"jobs\[(\d+)\]")
_OF_THE_JOB: Final = frozenset({
    HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
})  # fmt: skip
"""Refusals that another list might not meet; with all others, no job would be taken."""

Item = TypeVar("Item")


class Flow(Generic[Item]):
    """Items on their way.

    Args:
        body_of: The job of an item, as JSON.
        max_inflight: Most jobs open at once.
        is_ordered: Whether outcomes leave in the order of the items: then those that ended wait
            for those before them, which bounds the items, too.
        ordered_items: Most items open or waiting, if ordered; four times as many as may be open.
    """

    def __init__(
        self, body_of: Callable[[Item], bytes], *, max_inflight: int, is_ordered: bool = False,
        ordered_items: int = 0,
    ) -> None:  # fmt: skip
        self._body_of = body_of
        self._max_inflight = max_inflight
        self._is_ordered = is_ordered
        self._most_items = ordered_items or _ROOM_IF_ORDERED * max_inflight
        self._looks = Looks()
        self._items: dict[str, list[tuple[int, Item]]] = {}
        self._ended: deque[tuple[int, Item, Outcome]] = deque()
        self._waiting: dict[int, tuple[Item, Outcome]] = {}
        self._handed = 0
        self._next = 0

    @property
    def num_open(self) -> int:
        """Items whose jobs have not been seen to end."""
        return len(self._looks)

    @property
    def room(self) -> int:
        """How many items may be handed over now."""
        room = self._max_inflight - len(self._looks)
        if self._is_ordered:
            room = min(room, self._most_items - len(self._looks) - len(self._waiting))
        return max(0, min(room, MOST_AT_ONCE))

    @property
    def job_ids(self) -> list[str]:
        """Of the jobs that are open, the oldest first."""
        return list(self._items)

    def hand_over(self, calls: Calls, items: Sequence[Item]) -> Program[None]:
        """Submit items, `room` at most; what is wrong with one job is its item's outcome.

        Raises: as `Client.submit`, for what is wrong with all.
        """
        numbered = list(enumerate(items, self._handed))
        self._handed += len(items)
        for call in _calls([(number, item, self._body_of(item)) for number, item in numbered]):
            yield from self._submit(calls, call)

    def _submit(self, calls: Calls, call: Sequence[tuple[int, Item, bytes]]) -> Program[None]:
        try:
            job_ids = yield from calls.submit([body for _, _, body in call], None)
        except RequestRefused as error:
            if error.status not in _OF_THE_JOB:
                raise
            yield from self._without_the_refused(calls, call, error)
            return
        for job_id, (number, item, _) in zip(job_ids, call, strict=True):
            self._items.setdefault(job_id, []).append((number, item))
        self._looks.add(job_ids)

    def _without_the_refused(
        self, calls: Calls, call: Sequence[tuple[int, Item, bytes]], error: RequestRefused
    ) -> Program[None]:
        """The rest of a list of which one job was refused; halves of it, where none is named."""
        place = place_of(error, len(call))
        if place is None:
            middle = len(call) // 2
            yield from self._submit(calls, call[:middle])
            yield from self._submit(calls, call[middle:])
            return
        number, item, _ = call[place]
        self._end(number, item, error)
        yield from self._submit(calls, [*call[:place], *call[place + 1 :]])

    def look(self, calls: Calls, *, at_most_s: float = float("inf")) -> Program[None]:
        """Ask which jobs have ended, after a pause if need be."""
        found = yield from self._looks.look(calls, at_most_s=at_most_s)
        outcomes: list[tuple[str, Outcome]] = [(job.id, job) for job in found.data]
        outcomes += [(job_id, job_missing(job_id)) for job_id in found.missing]
        for job_id, outcome in outcomes:
            for number, item in self._items.pop(job_id, ()):
                self._end(number, item, outcome)

    def take(self) -> list[tuple[Item, Outcome]]:
        """What may leave now."""
        if not self._is_ordered:
            taken = [(item, outcome) for _, item, outcome in self._ended]
            self._ended.clear()
            return taken
        while self._ended:
            number, item, outcome = self._ended.popleft()
            self._waiting[number] = item, outcome
        taken = list[tuple[Item, Outcome]]()
        while self._next in self._waiting:
            taken.append(self._waiting.pop(self._next))
            self._next += 1
        return taken

    def _end(self, number: int, item: Item, outcome: Outcome) -> None:
        self._ended.append((number, item, outcome))


def place_of(error: RequestRefused, num_jobs: int) -> int | None:
    """Which job of a list is refused; None if that is not known."""
    named = _PLACE.match(error.field or "")
    if named and int(named[1]) < num_jobs:
        return int(named[1])
    return 0 if num_jobs == 1 else None


def as_job(item: object) -> JobFields:
    """A text is a prompt; fields are a job.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(item, str):
        return {"prompt": item}
    if isinstance(item, Mapping):
        return cast("JobFields", item)
    msg = f"{type(item).__name__} is no job: give texts or fields, or say with `job` how to make it"
    raise TypeError(msg)


def body_by(job: Callable[[Item], JobFields]) -> Callable[[Item], bytes]:
    """How an item becomes JSON."""
    return lambda item: msgspec.json.encode(job(item))


def _calls(
    jobs: Sequence[tuple[int, Item, bytes]],
) -> list[list[tuple[int, Item, bytes]]]:
    """Cut into lists that one `submit` takes."""
    made: list[list[tuple[int, Item, bytes]]] = []
    size = 0
    for job in jobs:
        size += len(job[2])
        if not made or not has_room(len(made[-1]), size):
            made.append([])
            size = len(job[2])
        made[-1].append(job)
    return made
