"""What an api process remembers of keys, and for how long, on a clock that is moved by hand."""

import asyncio
import secrets

import pytest

from preble.broker.api_keys import ApiKey
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.clock import ManualClock
from preble.errors import BrokerUnavailable
from preble_api import keyring
from preble_api.errors import HttpError
from preble_api.keyring import AWAY_S, FOUND_S, LOOKUPS_PER_S, MISSING_S, Keyring

pytestmark = pytest.mark.anyio


class CountedKeys(MemoryApiKeys):
    """Counts lookups; may be away, or slow."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.lookups = 0
        self.is_away = False
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def find(self, digest: str) -> ApiKey | None:
        self.lookups += 1
        self.asked.set()
        await self.answers.wait()
        if self.is_away:
            raise BrokerUnavailable("redis is gone")
        return await super().find(digest)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(clock: ManualClock) -> CountedKeys:
    return CountedKeys(clock)


@pytest.fixture
def ring(keys: CountedKeys, clock: ManualClock) -> Keyring:
    return Keyring(keys, clock)


async def made(keys: CountedKeys, life_s: float | None = None) -> tuple[bytes, ApiKey]:
    key, record = await keys.create("n", tenant="acme", scopes={"read"}, life_s=life_s)
    return key.encode(), record


def unknown() -> bytes:
    return b"pk_" + secrets.token_urlsafe(32).encode()


async def test_known_key_is_looked_up_once_in_its_time(
    ring: Keyring, keys: CountedKeys, clock: ManualClock
) -> None:
    key, record = await made(keys)
    for _ in range(10):
        assert await ring.find(key) == record
    assert keys.lookups == 1
    clock.advance(FOUND_S)
    assert await ring.find(key) == record
    assert keys.lookups == 2


async def test_revoked_key_opens_nothing_after_its_time(
    ring: Keyring, keys: CountedKeys, clock: ManualClock
) -> None:
    key, record = await made(keys)
    assert await ring.find(key)
    await keys.revoke(record.id)
    clock.advance(FOUND_S)
    assert await ring.find(key) is None


async def test_time_of_an_answer_begins_with_its_question(
    ring: Keyring, keys: CountedKeys, clock: ManualClock
) -> None:
    key, record = await made(keys)
    keys.answers.clear()
    asking = asyncio.create_task(ring.find(key))
    await keys.asked.wait()
    clock.advance(1.0)
    keys.answers.set()
    assert await asking
    await keys.revoke(record.id)
    clock.advance(FOUND_S - 1.0)
    assert await ring.find(key) is None


async def test_new_key_works_although_it_was_tried_before_it_was_made(
    ring: Keyring, keys: CountedKeys, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = unknown()
    assert await ring.find(key) is None
    monkeypatch.setattr("preble.broker.memory_api_keys.new_key", key.decode)
    _, record = await made(keys)
    clock.advance(MISSING_S)
    assert await ring.find(key) == record


@pytest.mark.parametrize(
    "given",
    [
        b"", b"secret", b"pk_", b"pk_" + b"a" * 42, b"pk_" + b"a" * 44, b"pk_" + b"\xff" * 43,
        b"sk_" + b"a" * 43, b"pk_" + b"a" * 42 + b"\n", b"x" * 60_000,
    ],
)  # fmt: skip
async def test_what_cannot_be_a_key_asks_nobody(
    ring: Keyring, keys: CountedKeys, given: bytes
) -> None:
    assert await ring.find(given) is None
    assert keys.lookups == 0


async def test_wrong_key_again_asks_nobody_for_a_while(
    ring: Keyring, keys: CountedKeys, clock: ManualClock
) -> None:
    key = unknown()
    for _ in range(10):
        assert await ring.find(key) is None
    assert keys.lookups == 1
    clock.advance(MISSING_S)
    assert await ring.find(key) is None
    assert keys.lookups == 2


async def flood(ring: Keyring) -> None:
    for _ in range(2 * int(LOOKUPS_PER_S)):
        await ring.find(unknown())


async def test_flood_of_wrong_keys_is_cut_and_keeps_no_known_key_out(
    ring: Keyring, keys: CountedKeys, clock: ManualClock
) -> None:
    known, record = await made(keys)
    assert await ring.find(known)
    with pytest.raises(HttpError) as refused:
        await flood(ring)
    assert (refused.value.status, refused.value.code) == (429, "too_many_unknown_keys")
    assert refused.value.retry_after_s
    assert keys.lookups <= LOOKUPS_PER_S + 1  # and the known one
    clock.advance(FOUND_S)  # the known key is to be asked for again
    with pytest.raises(HttpError):
        await flood(ring)
    assert await ring.find(known) == record


async def test_memory_is_bounded(
    keys: CountedKeys, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MOST_MISSING", 10)
    monkeypatch.setattr(keyring, "MOST_FOUND", 3)
    ring = Keyring(keys, clock)
    tried = [unknown() for _ in range(50)]
    for key in tried:
        await ring.find(key)
    lookups = keys.lookups
    await ring.find(tried[-1])
    assert keys.lookups == lookups  # remembered
    await ring.find(tried[0])
    assert keys.lookups == lookups + 1  # forgotten
    real = [await made(keys) for _ in range(4)]
    for key, record in real:
        assert await ring.find(key) == record
    lookups = keys.lookups
    assert await ring.find(real[0][0]) == real[0][1]
    assert keys.lookups == lookups + 1


async def test_all_that_bring_one_key_meanwhile_share_a_lookup(
    ring: Keyring, keys: CountedKeys
) -> None:
    key, record = await made(keys)
    keys.answers.clear()
    asking = [asyncio.create_task(ring.find(key)) for _ in range(50)]
    await keys.asked.wait()
    asking[0].cancel()  # the one that began it leaves
    keys.answers.set()
    assert await asyncio.gather(*asking[1:]) == [record] * 49
    assert keys.lookups == 1


async def test_known_key_goes_on_while_redis_is_away_and_not_for_ever(
    ring: Keyring, keys: CountedKeys, clock: ManualClock
) -> None:
    key, record = await made(keys)
    assert await ring.find(key)
    keys.is_away = True
    clock.advance(FOUND_S)
    assert await ring.find(key) == record
    lookups = keys.lookups
    assert await ring.find(key) == record
    assert keys.lookups == lookups  # nobody waits for it again at once
    clock.advance(AWAY_S - FOUND_S)
    with pytest.raises(BrokerUnavailable):
        await ring.find(key)
    keys.is_away = False
    clock.advance(1.0)
    assert await ring.find(key) == record


async def test_unknown_key_is_neither_right_nor_wrong_while_redis_is_away(
    ring: Keyring, keys: CountedKeys
) -> None:
    key, _ = await made(keys)
    keys.is_away = True
    with pytest.raises(BrokerUnavailable):
        await ring.find(key)


async def test_redis_that_does_not_answer_counts_as_away(
    ring: Keyring, keys: CountedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "LOOKUP_S", 0.01)
    key, _ = await made(keys)
    keys.answers.clear()
    with pytest.raises(BrokerUnavailable, match="no answer"):
        await ring.find(key)
