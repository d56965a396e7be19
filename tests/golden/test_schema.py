"""What versions of Preble share is as it was agreed on, and what breaks it is told. ADR 0040."""

import re
from copy import deepcopy

import msgspec
import pytest
from reader_support import ROOT

from tools.schema.__main__ import read, trouble
from tools.schema.layout import Layout, layout
from tools.schema.rules import breaks

DECODED = re.compile(r"Decoder\((?:tuple\[)?(\w+)|decode\([^\n]*type=(\w+)")


@pytest.fixture
def changed() -> Layout:
    """The layout of another version, for a test to change."""
    return deepcopy(layout())


def broken(is_now: Layout, *renamed: str) -> list[str]:
    return breaks(layout(), is_now, renamed=renamed)


def test_keys_messages_and_settings_are_as_agreed_on() -> None:
    complaint = trouble(read(), layout())
    assert not complaint, f"what versions share has changed:\n{complaint}"


def test_all_that_the_broker_decodes_is_among_the_messages() -> None:
    sources = (ROOT / "preble/broker").glob("*.py")
    found = {
        name for each in sources for pair in DECODED.findall(each.read_text()) for name in pair
    }
    unions = {"Signal", ""}
    assert {"JobSpec", "TokenDelta", "PoolRecord"} <= found
    assert found - unions <= layout()["messages"].keys()


def test_another_version_may_add(changed: Layout) -> None:
    changed["keys"]["preble:{pool}:more"] = "hash"
    changed["job fields"].append("preble_more")
    changed["messages"]["JobSpec"]["fields"].append("more: str = ''")
    changed["messages"]["JobResult"]["fields"].insert(0, "more: str = ''")
    changed["messages"]["More"] = {"form": "map", "fields": ["id: str"]}
    changed["settings"]["more"] = "int"
    assert broken(changed) == []
    assert "nothing breaks: python -m tools.schema" in trouble(layout(), changed)


def test_a_key_may_neither_go_nor_become_another_type(changed: Layout) -> None:
    del changed["keys"]["preble:{pool}:counts"]
    changed["keys"]["preble:{pool}:leases"] = "hash"
    changed["job fields"].remove("preble_state")
    assert broken(changed) == [
        "key preble:{pool}:counts is gone",
        "key preble:{pool}:leases was zset and is hash",
        "field preble_state of a job's record is gone",
    ]


def test_an_array_keeps_the_order_of_its_fields(changed: Layout) -> None:
    changed["messages"]["JobSpec"]["fields"].insert(1, "more: str = ''")
    assert broken(changed) == ["message JobSpec does not begin with the fields that it had"]


def test_a_map_may_not_lose_a_field_nor_demand_a_new_one(changed: Layout) -> None:
    fields = changed["messages"]["JobFailure"]["fields"]
    fields[fields.index("code: str")] = "kind: str"
    assert broken(changed) == [
        "message JobFailure has no `code: str` any more",
        "message JobFailure: `kind: str` has no default",
    ]


def test_what_refuses_unknown_fields_may_gain_none(changed: Layout) -> None:
    changed["messages"]["BatchRequest"]["fields"].append("more: str = ''")
    (told,) = broken(changed)
    assert told == "message BatchRequest refuses unknown fields, and has gained `more: str = ''`"


def test_another_schema_may_change_all_but_settings(changed: Layout) -> None:
    changed["schema"] += 1
    changed["keys"].clear()
    changed["messages"].clear()
    assert broken(changed) == []
    del changed["settings"]["slots"]
    assert broken(changed) == ["setting slots is gone"]


def test_a_setting_may_be_renamed_while_its_old_name_is_read(changed: Layout) -> None:
    changed["settings"]["places"] = changed["settings"].pop("slots")
    assert broken(changed, "slots") == []
    assert "BREAKS: setting slots is gone" in trouble(layout(), changed)


class Older(msgspec.Struct, array_like=True):
    """A message as the last version has it."""

    job_id: str


class Newer(msgspec.Struct, array_like=True):
    """As this one has it, with a field at the end."""

    job_id: str
    note: str = "none"


def test_versions_read_each_other_s_arrays_if_fields_come_last_with_defaults() -> None:
    """The rule rests on it."""
    written = msgspec.msgpack.encode
    assert msgspec.msgpack.decode(written(Newer("a", "b")), type=Older) == Older("a")
    assert msgspec.msgpack.decode(written(Older("a")), type=Newer) == Newer("a", "none")
