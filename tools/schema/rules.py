"""Which changes of a layout the processes of another version would not survive. ADR 0040.

Of one schema a later version may add a key, a field of a job's record, a message, a setting; to a
message a field with a default, which is the last if the message is an array. All else needs
another number, and of settings an old name that is still read.
"""

from collections.abc import Collection, Iterator, Mapping

from tools.schema.layout import Layout


def breaks(was: Layout, is_now: Layout, *, renamed: Collection[str]) -> list[str]:
    """What cannot be shared with a process that has the former layout, a line for each.

    Args:
        was: The layout that was agreed on.
        is_now: That of the code.
        renamed: Old names of settings that are still read.
    """
    found = [*_settings(was["settings"], is_now["settings"], renamed)]
    if is_now["schema"] == was["schema"]:
        found += _schema(was, is_now)
    return found


def _schema(was: Layout, is_now: Layout) -> Iterator[str]:
    yield from _changed("key", was["keys"], is_now["keys"])
    gone = set(was["job fields"]).difference(is_now["job fields"])
    yield from (f"field {name} of a job's record is gone" for name in sorted(gone))
    for name, message in was["messages"].items():
        now = is_now["messages"].get(name)
        if now is None:
            yield f"message {name} is gone"
        elif now["form"] != message["form"]:
            yield f"message {name} was: {message['form']}; it is now: {now['form']}"
        else:
            yield from _fields(f"message {name}", message, now)


def _fields(message: str, was: Layout, is_now: Layout) -> Iterator[str]:
    before, after = was["fields"], is_now["fields"]
    if "array" in was["form"] and after[: len(before)] != before:
        yield f"{message} does not begin with the fields that it had"
    lost = [field for field in before if field not in after]
    added = [field for field in after if field not in before]
    yield from (f"{message} has no `{field}` any more" for field in lost)
    if "closed" in was["form"]:
        yield from (f"{message} refuses unknown fields, and has gained `{each}`" for each in added)
    else:
        yield from (f"{message}: `{each}` has no default" for each in added if " = " not in each)


def _settings(
    was: Mapping[str, str], is_now: Mapping[str, str], renamed: Collection[str]
) -> Iterator[str]:
    kept = {name: kind for name, kind in was.items() if name not in renamed}
    yield from _changed("setting", kept, is_now)


def _changed(what: str, was: Mapping[str, str], is_now: Mapping[str, str]) -> Iterator[str]:
    for name, kind in was.items():
        if name not in is_now:
            yield f"{what} {name} is gone"
        elif is_now[name] != kind:
            yield f"{what} {name} was {kind} and is {is_now[name]}"
