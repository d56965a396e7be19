"""vLLM's KV events, as its versions speak them."""

from base64 import b64decode
from typing import cast

import msgspec
import pytest
from kv_events_stub import CLEARED, Event, removed, stored
from vllm_stub import RECORDED

from preble.errors import EventsLost
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_events import parse_message
from preble_workers.vllm_events import VLLMEvents


def batch(*events: object) -> bytes:
    return msgspec.msgpack.encode([1.5, events, 0])


def parsed(*events: object) -> list[PageEvent]:
    return VLLMEvents(2).read(batch(*events))


def first_page(**fields: object) -> Event:
    return stored(0, 1, page_size=2) | fields


def test_what_a_real_server_published_is_understood() -> None:
    """Prompts without and with a salt, a flush, a page computed twice, and an eviction of all."""
    events = VLLMEvents(32)
    messages = [
        parse_message([b64decode(frame) for frame in frames])
        for frames in cast("list[list[str]]", RECORDED["events"])
    ]
    assert [message.seq for message in messages] == [0, 1, 2, 3, 4]
    plain, salted, flushed, again, evicted = [events.read(each.payload) for each in messages]
    prompt = cast("list[int]", RECORDED["prompt"])
    assert plain == [PagesStored([17053758079485834354], None, prompt[:32])]
    assert salted == [PagesStored([17443402655465704181], None, prompt[:32], "tenant")]
    first, last = 2065545987729268343, 4118834454899676085
    assert flushed == [AllPagesCleared(), PagesStored([first, last], None, [*range(300, 364)])]
    assert again == [PagesStored([last], first, [*range(332, 364)])]
    assert evicted[:2] == [PagesRemoved([last]), PagesRemoved([first])]
    (new,) = evicted[2:]
    assert isinstance(new, PagesStored)
    assert new.token_ids == [*range(400, 624)]


def test_a_page_is_held_until_its_last_copy_has_gone() -> None:
    page = first_page()
    assert parsed(page, page, removed(0)) == [PagesStored([0], None, [0, 1])] * 2
    assert parsed(page, page, removed(0), removed(0))[2:] == [PagesRemoved([0])]
    assert parsed(page, page, CLEARED, page, removed(0))[-1] == PagesRemoved([0])


def test_a_removal_of_what_was_never_told_is_told() -> None:
    assert parsed(removed(7), first_page(), removed(0)) == [
        PagesRemoved([7]), PagesStored([0], None, [0, 1]), PagesRemoved([0]),
    ]  # fmt: skip


def test_hashes_may_be_bytes() -> None:
    events = VLLMEvents(2)
    digest = bytes(range(32))
    event = first_page(block_hashes=[digest], parent_block_hash=digest[::-1])
    [told] = events.read(batch(event))
    assert isinstance(told, PagesStored)
    assert told.page_hashes == [int.from_bytes(digest, "big")]
    assert told.parent_hash == int.from_bytes(digest[::-1], "big")
    [gone] = events.read(batch(removed(0) | {"block_hashes": [digest]}))
    assert gone == PagesRemoved(told.page_hashes)


@pytest.mark.parametrize("num_fields", [5, 6, 7])
def test_events_of_earlier_versions_are_arrays(num_fields: int) -> None:
    fields = [[9], None, [1, 2], 2, None, "GPU", None][:num_fields]
    told = parsed(["BlockStored", *fields], ["BlockRemoved", [9]], ["AllBlocksCleared"])
    assert told == [PagesStored([9], None, [1, 2]), PagesRemoved([9]), AllPagesCleared()]


def test_fields_of_a_later_version_are_ignored() -> None:
    assert parsed(first_page(locality="LOCAL", new={"a": 1})) == parsed(first_page())


@pytest.mark.parametrize("medium", ["CPU", "STORAGE"])
def test_copies_elsewhere_are_no_pages_of_the_cache(medium: str) -> None:
    assert parsed(first_page(medium=medium), removed(0, medium=medium)) == []


def test_of_several_caches_the_first_is_followed() -> None:
    """Their pages have the same hashes, so a removal from another must not count."""
    mamba = first_page(group_idx=1, kv_cache_spec_kind="mamba")
    told = parsed(first_page(group_idx=0), mamba, removed(0) | {"group_idx": 1})
    assert told == parsed(first_page())


def test_a_cache_that_keeps_no_prefixes_cannot_be_followed() -> None:
    with pytest.raises(EventsLost, match="keeps no prefixes: sliding_window"):
        parsed(first_page(group_idx=0, kv_cache_spec_kind="sliding_window"))


@pytest.mark.parametrize(
    "fields",
    [
        {"lora_name": "adapter", "extra_keys": [["adapter"]]},
        {"lora_id": 3},
        {"extra_keys": [[["image", 0]]]},
        {"extra_keys": [["salt", ["image", 0]]]},
    ],
)
def test_what_adapters_and_images_computed_is_no_prefix_of_a_text(fields: Event) -> None:
    [told] = parsed(first_page(**fields))
    assert isinstance(told, PagesStored)
    assert told.cache_salt.startswith("\0")


def test_pages_of_another_size_are_a_loss() -> None:
    with pytest.raises(EventsLost, match="pages of 16 tokens, not 2"):
        parsed(stored(0, 1))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", msgspec.msgpack.encode("x"), batch({"type": "Unheard"}), batch(CLEARED)[:-1]],
)
def test_another_payload_is_a_loss(payload: bytes) -> None:
    with pytest.raises(EventsLost, match="cannot be read"):
        VLLMEvents(2).read(payload)
