"""What processes of several versions share, as the code has it now: keys, messages, settings.

    KEYS, job fields of the scripts ┐
    what is written to Redis, disk  ├─▶ layout() ─▶ tests/golden/schema.json, by `__main__`
    Settings                        ┘

Who adds something that one process encodes and another decodes adds it to `WRITTEN`.
"""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import inspect

from preble.broker.agreement import SCHEMA
from preble.broker.api_keys import ApiKey
from preble.broker.keys import KEYS
from preble.config import Settings
from preble.messages import (
    Assignment,
    EventBatch,
    InstanceRecord,
    InstanceReport,
    JobFailure,
    JobResult,
    JobSpec,
    PoolRecord,
    Signal,
    Snapshot,
    TokenDelta,
    Webhook,
)
from preble_api.batches.folder import BatchRecord, BatchState
from preble_api.batches.shift import Handed, ShiftStart
from preble_api.files.schemas import FileObject
from preble_api.openai.asked import Echo

WRITTEN: Final = (
    # To Redis.
    ApiKey, Assignment, Echo, EventBatch, InstanceRecord, InstanceReport, JobFailure, JobResult,
    JobSpec, PoolRecord, Signal, Snapshot, TokenDelta, Webhook,
    # To the folder that the apis of a pool share.
    BatchRecord, BatchState, FileObject, Handed, ShiftStart,
)  # fmt: skip

Layout = dict[str, Any]
_JOB_FIELD: Final = re.compile(r"'(preble_\w+)'")


def layout() -> Layout:
    """The number of the schema, and all that it numbers; the settings beside it."""
    structs = {each.cls.__name__: _message(each) for each in _structs()}
    return {
        "schema": SCHEMA,
        "keys": {key.template: key.type for key in KEYS},
        "job fields": sorted(_job_fields()),
        "messages": dict(sorted(structs.items())),
        "settings": {name: kind(inspect.type_info(of)) for name, of in _settings().items()},
    }


def kind(of: inspect.Type) -> str:
    """A type in words; bounds are not told."""
    match of:
        case inspect.Metadata(type=inner):
            words = kind(inner)
        case inspect.StructType(cls=cls):
            words = cls.__name__
        case inspect.EnumType(cls=cls):
            words = " | ".join(sorted(repr(each.value) for each in cls))
        case inspect.LiteralType(values=values):
            words = " | ".join(sorted(map(repr, values)))
        case inspect.UnionType(types=types):
            words = " | ".join(map(kind, types))
        case inspect.VarTupleType(item_type=item):
            words = f"list[{kind(item)}]"
        case inspect.ListType(item_type=item) | inspect.FrozenSetType(item_type=item):
            words = f"list[{kind(item)}]"
        case inspect.DictType(key_type=key, value_type=value):
            words = f"dict[{kind(key)}, {kind(value)}]"
        case _:
            words = type(of).__name__.removesuffix("Type").lower()
    return words


def _settings() -> dict[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def _job_fields() -> set[str]:
    """Of the record that we share with RQ."""
    scripts = files("preble.broker.scripts").iterdir()
    texts = [each.read_text() for each in scripts if each.name.endswith(".lua")]
    return {name for text in texts for name in _JOB_FIELD.findall(text)}


def _structs() -> Iterator[inspect.StructType]:
    """All messages, and those within them."""
    waiting: list[inspect.Type] = [inspect.type_info(each) for each in WRITTEN]
    while waiting:
        found = waiting.pop()
        if isinstance(found, inspect.StructType):
            yield found
            waiting += [field.type for field in found.fields]
        waiting += getattr(found, "types", ())
        waiting += [found.item_type] if hasattr(found, "item_type") else []


def _message(struct: inspect.StructType) -> dict[str, Any]:
    form = "array" if struct.array_like else "map"
    config = struct.cls.__struct_config__
    notes = [f"tag {struct.tag!r}"] if struct.tag is not None else []
    notes += ["defaults left out"] if config.omit_defaults else []
    notes += ["closed"] if struct.forbid_unknown_fields else []
    return {"form": ", ".join([form, *notes]), "fields": [*map(_field, struct.fields)]}


def _field(field: inspect.Field) -> str:
    """As it stands in a class, such as `cache_salt: str = ''`."""
    said = f"{field.encode_name}: {kind(field.type)}"
    if field.required:
        return said
    made = field.default_factory is not msgspec.NODEFAULT
    default: object = field.default_factory() if made else field.default
    # What is in it is told with its own message.
    is_message = isinstance(default, msgspec.Struct)
    return f"{said} = {type(default).__name__ + '()' if is_message else repr(default)}"
