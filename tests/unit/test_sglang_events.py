"""SGLang's KV events, as its versions speak them."""

import msgspec
import pytest
from kv_events_stub import CLEARED, Event, removed, stored

from preble.errors import EventsLost
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.sglang_events import parse_events


def batch(*events: Event) -> bytes:
    return msgspec.msgpack.encode([1.5, events, 0])


def parsed(*events: Event) -> list[PageEvent]:
    return parse_events(batch(*events), page_size=2)


def test_events_are_mapped_in_order() -> None:
    assert parsed(stored(0, 2, page_size=2), CLEARED, stored(3, 4, page_size=2), removed(3)) == [
        PagesStored([0, 1], None, [0, 1, 2, 3]),
        AllPagesCleared(),
        PagesStored([3], 2, [6, 7]),
        PagesRemoved([3]),
    ]


def test_salts_are_kept() -> None:
    (event,) = parsed(stored(0, 1, page_size=2, cache_salt="tenant"))
    assert event == PagesStored([0], None, [0, 1], "tenant")


def test_fields_of_a_later_version_are_ignored() -> None:
    news: Event = {"session_id": "x", "lora_name": None, "new": []}
    assert parsed(stored(0, 1, page_size=2) | news) == parsed(stored(0, 1, page_size=2))


def test_fields_of_an_earlier_version_are_not_missed() -> None:
    event = stored(0, 1, page_size=2)
    del event["medium"]
    assert parsed(event) == [PagesStored([0], None, [0, 1])]


def test_hashes_take_all_64_bits_of_either_sign() -> None:
    assert parsed(removed(2**64 - 1, -(2**63))) == [PagesRemoved([2**64 - 1, -(2**63)])]


@pytest.mark.parametrize("medium", ["CPU_PINNED", "DISK", "EXTERNAL"])
def test_copies_elsewhere_are_no_pages_of_the_cache(medium: str) -> None:
    assert parsed(stored(0, 1, page_size=2, medium=medium), removed(0, medium=medium)) == []


def test_pages_of_another_size_are_a_loss() -> None:
    with pytest.raises(EventsLost, match="pages of 16 tokens, not 2"):
        parsed(stored(0, 1))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", msgspec.msgpack.encode("x"), batch({"type": "Unheard"}), batch(CLEARED)[:-1]],
)
def test_another_payload_is_a_loss(payload: bytes) -> None:
    with pytest.raises(EventsLost, match="cannot be read"):
        parse_events(payload, page_size=2)
