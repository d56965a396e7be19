"""Which API keys are valid, as far as one api process knows: few questions to Redis, none for long.

A key that was found counts for `FOUND_S`, so one that is revoked stops within that time. While the
queue is away it goes on for `AWAY_S`. Wrong keys are remembered for `MISSING_S`, and only so many
new ones are looked up a second: a flood of them costs Redis little and keeps no known key out.
All that is remembered is bounded.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from preble.broker.api_keys import KEY, ApiKey, ApiKeys, digest_of
from preble.clock import Clock
from preble.errors import BrokerUnavailable
from preble_api.errors import HttpError

FOUND_S: Final = 5.0
"""A revoked key opens nothing after so long."""

MISSING_S: Final = 1.0
AWAY_S: Final = 60.0
"""For which a known key goes on while Redis cannot be asked."""

MOST_FOUND: Final = 10_000
MOST_MISSING: Final = 10_000
LOOKUPS_PER_S: Final = 200.0
"""Of keys that were not valid lately: 50 microseconds of Redis each."""

LOOKUP_S: Final = 2.0
"""Longer than this and Redis counts as away."""

_ASK_AGAIN_S: Final = 1.0
"""After Redis was found away, before it is asked again."""


@dataclass(frozen=True, slots=True)
class _Answer:
    key: ApiKey | None
    asked_s: float


class Keyring:
    """Looks keys up.

    Args:
        keys: Where they are kept.
        clock: Measures how long an answer counts.
    """

    def __init__(self, keys: ApiKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._found = _Remembered(MOST_FOUND)
        self._missing = _Remembered(MOST_MISSING)
        self._lookups: dict[str, asyncio.Task[ApiKey | None]] = {}
        self._budget = _Budget(LOOKUPS_PER_S, clock)
        self._away_until_s = float("-inf")

    async def find(self, key: bytes) -> ApiKey | None:
        """The key, if it is valid.

        Raises:
            HttpError: If too many unknown keys are being tried (429).
            BrokerUnavailable: If it is not known here and Redis cannot be asked.
        """
        return await self.of_digest(digest_of(key)) if KEY.fullmatch(key) else None

    async def of_digest(self, digest: str) -> ApiKey | None:
        """The key with this digest, if it is valid. Raises: as `find`."""
        now_s = self._clock.now_s()
        if (known := self._found.get(digest)) and now_s - known.asked_s < FOUND_S:
            return known.key
        if (wrong := self._missing.get(digest)) and now_s - wrong.asked_s < MISSING_S:
            return None
        return await self._ask(digest, known, now_s)

    async def _ask(self, digest: str, known: _Answer | None, now_s: float) -> ApiKey | None:
        try:
            return await self._shared_lookup(digest, now_s, is_known=known is not None)
        except BrokerUnavailable:
            if known and now_s - known.asked_s < AWAY_S:
                return known.key
            raise

    async def _shared_lookup(self, digest: str, now_s: float, *, is_known: bool) -> ApiKey | None:
        """One question for all who present the same key meanwhile; it goes on if one leaves."""
        lookup = self._lookups.get(digest)
        if lookup is None:
            self._require_may_ask(now_s, is_known=is_known)
            lookup = self._lookups[digest] = asyncio.create_task(self._look_up(digest, now_s))
            lookup.add_done_callback(lambda task: self._forget(digest, task))
        return await asyncio.shield(lookup)

    def _require_may_ask(self, now_s: float, *, is_known: bool) -> None:
        if now_s < self._away_until_s:
            raise BrokerUnavailable("Redis was away a moment ago")
        if not is_known and not self._budget.take():
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_unknown_keys",
                "too many api keys that are not known here are being tried",
                retry_after_s=_ASK_AGAIN_S,
            )

    def _forget(self, digest: str, task: asyncio.Task[ApiKey | None]) -> None:
        """The lookup has ended; its error, if all who asked have left, is nobody's."""
        del self._lookups[digest]
        if not task.cancelled():
            task.exception()

    async def _look_up(self, digest: str, asked_s: float) -> ApiKey | None:
        try:
            async with asyncio.timeout(LOOKUP_S):
                key = await self._keys.find(digest)
        except (BrokerUnavailable, TimeoutError) as error:
            self._away_until_s = self._clock.now_s() + _ASK_AGAIN_S
            msg = f"an api key cannot be looked up: {str(error) or 'no answer'}"
            raise BrokerUnavailable(msg) from None
        into, out_of = (self._found, self._missing) if key else (self._missing, self._found)
        out_of.forget(digest)
        into.put(digest, _Answer(key, asked_s))
        return key


class _Remembered:
    """Answers by digest, the latest ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    def get(self, digest: str) -> _Answer | None:
        return self._answers.get(digest)

    def put(self, digest: str, answer: _Answer) -> None:
        self._answers[digest] = answer
        self._answers.move_to_end(digest)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def forget(self, digest: str) -> None:
        self._answers.pop(digest, None)


class _Budget:
    """A token bucket that holds one second's worth."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._left = per_s
        self._at_s = clock.now_s()

    def take(self) -> bool:
        """Whether there was one left."""
        now_s = self._clock.now_s()
        self._left = min(self._per_s, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
