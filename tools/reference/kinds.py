"""What a JSON Schema says of a value, in words: its type, its bounds, its meaning."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tools.reference.markdown import code

Schema = Mapping[str, Any]

_NAMES: Final = {"string": "text", "boolean": "true or false", "object": "object", "null": "null"}
_SIZES: Final = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "items"),
    ("minProperties", "maxProperties", "fields"),
)


def kind(schema: Schema, link: Callable[[str], str] = code) -> str:
    """Its type and bounds, such as `integer (at least 1)`.

    Args:
        schema: Of the value.
        link: Shows the name of a schema that it refers to.
    """
    if "$ref" in schema:
        return link(schema["$ref"].rpartition("/")[2])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(kind(each, link) for each in options))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value)) for value in schema["enum"])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    bounds = ", ".join(_bounds(schema))
    return _name(schema, link) + (f" ({bounds})" if bounds else "")


def meaning(schema: Schema) -> str:
    """Its description, or those of what it may be."""
    if text := schema.get("description"):
        return str(text)
    options: Sequence[Schema] = schema.get("anyOf") or schema.get("oneOf") or ()
    found = [meaning(each) for each in options]
    return " ".join(dict.fromkeys(text for text in found if text))


def default(schema: Schema) -> str:
    """Its default as JSON; empty if that is nothing."""
    value = schema.get("default")
    return "" if value is None or value == "" else code(json.dumps(value))


def without_null(schema: Schema) -> Schema:
    """The same where null only says what leaving it out says, too."""
    if schema.get("default", "") is not None or "anyOf" not in schema:
        return schema
    return {**schema, "anyOf": [each for each in schema["anyOf"] if each != {"type": "null"}]}


def named(schema: Schema) -> list[str]:
    """The schemas that it refers to, in its order."""
    found: list[str] = []
    if "$ref" in schema:
        found.append(schema["$ref"].rpartition("/")[2])
    for below in _below(schema):
        found += named(below)
    return list(dict.fromkeys(found))


def _below(schema: Schema) -> Iterator[Schema]:
    """The schemas within it."""
    for key in ("anyOf", "oneOf"):
        yield from schema.get(key, ())
    for key in ("items", "additionalProperties", "schema"):
        # Booleans forbid or allow, and name nothing.
        below: Schema | bool = schema.get(key, False)
        if not isinstance(below, bool):
            yield below
    yield from schema.get("properties", {}).values()


def _name(schema: Schema, link: Callable[[str], str]) -> str:
    of: str = schema.get("type", "anything")
    items: Schema | None = schema.get("items")
    values: Schema | None = schema.get("additionalProperties")
    if schema.get("format") == "binary":
        return "bytes"
    if items:
        return f"list of {kind(items, link)}"
    if values:
        return f"object of {kind(values, link)}"
    return _NAMES.get(of, of)


def _bounds(schema: Schema) -> list[str]:
    """What it must keep to."""
    bounds = _range(schema.get("minimum"), schema.get("maximum"), "at least ")
    if "exclusiveMinimum" in schema:
        bounds = [f"more than {_figure(schema['exclusiveMinimum'])}", *bounds]
    for least, most, unit in _SIZES:
        bounds += [f"{each} {unit}" for each in _range(schema.get(least), schema.get(most), "")]
    if pattern := schema.get("pattern"):
        # A look ahead that only Python's `$` needs.
        bounds.append("as " + code(pattern.removesuffix(r"(?!\n)")))
    return bounds


def _range(least: float | None, most: float | None, at_least: str) -> list[str]:
    if least is None:
        return [] if most is None else [f"at most {_figure(most)}"]
    if most is None:
        return [f"{at_least}{_figure(least)}" + ("" if at_least else " or more")]
    return [f"{_figure(least)} to {_figure(most)}"]


def _figure(value: float) -> str:
    return f"{value:,}".removesuffix(".0")
