"""docs/reference/http.md: every route, from the description that an api gives of itself."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble.tokenizer import load_tokenizer
from preble_api.app import create_app
from preble_api.error_codes import FAILURES, REFUSALS, ErrorCode
from preble_api.openapi import POOL_SECTION, SECTIONS
from tools.reference.kinds import Schema, default, kind, meaning, named, without_null
from tools.reference.markdown import anchor, code, document, paragraph, sentence, table

_INTRODUCTION: Final = """\
Bodies are JSON unless a route says otherwise, times are Unix seconds, and what is not known is
refused. `/openapi.json` has the same for programs, `/docs` to try out. How the parts are used:
[OpenAI's routes](openai.md), [SGLang's](sglang.md), [streams](streams.md),
[batches](../howto/batches.md), [webhooks](../howto/webhooks.md), [keys](../howto/auth.md),
[limits](../howto/limits.md); [examples](../../examples/README.md) of each, to be run.

**Who may call.** An api that is *open* answers whoever reaches it. Any other wants
`Authorization: Bearer KEY`; it answers 401 to a key that is missing or wrong, and 403 to one
without the scope that the route names (`admin` has all). To a tenant's key, what is another
tenant's does not exist (404).

**Fields.** One that has no default and is not required may be left out, or null."""

_ERRORS: Final = """\
Every error is a `Problem`, as `application/problem+json`. `error.code` is for programs: the codes
below are all there are. `x-should-retry` says whether the same request may succeed later, and
`Retry-After` when."""

_FAILURES: Final = """\
A job that failed has one of these in its own `error.code`. Where its answer is awaited
(`/generate`, OpenAI's routes) it is an error with this status."""

_ERROR_TYPE: Final = "application/problem+json"

_OF_THE_GATE: Final = frozenset({"401", "403"})
"""Statuses that every route with a key may answer with: told once."""


def page() -> str:
    """The whole page."""
    return HttpPage(_description()).render()


class HttpPage:
    """The page of one OpenAPI description.

    Args:
        description: As `/openapi.json` gives it.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._schemas: dict[str, Schema] = description["components"]["schemas"]
        self._shown = {"Problem", "ErrorDetail"}
        self._asked: set[str] = set()
        self._routes: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                route = (f"{method.upper()} {path}", operation)
                self._routes.setdefault(operation["tags"][0], []).append(route)
                body = operation.get("requestBody", {})
                self._asked |= set(self._reached(_of_content(body)))

    def render(self) -> str:
        """All sections; each schema stands where it is first needed."""
        names = [name for name in (*SECTIONS, POOL_SECTION) if name in self._routes]
        sections = [self._section(name) for name in names]
        index = (self._index(name) for name in names)
        return document("HTTP", _INTRODUCTION, "## Routes", *index, *sections, self._errors())

    def _index(self, section: str) -> str:
        rows = [
            [f"[{code(route)}](#{anchor(route)})", sentence(operation["summary"])]
            for route, operation in self._routes[section]
        ]
        return table([section, ""], rows)

    def _section(self, name: str) -> str:
        parts = [f"## {name}"]
        for route, operation in self._routes[name]:
            parts += [f"### {code(route)}", *self._route(operation)]
        return "\n\n".join([*parts, *self._objects(self._routes[name])])

    def _route(self, operation: Mapping[str, Any]) -> Iterator[str]:
        yield sentence(operation["summary"])
        yield paragraph(operation.get("description", ""))
        yield f"*Who may call:* {_who(operation)}"
        if rows := [self._parameter(each) for each in operation.get("parameters", [])]:
            yield table(["Parameter", "In", "Type", "Meaning"], rows)
        if body := operation.get("requestBody"):
            yield from self._body(body["content"])
        yield table(["Answer", ""], self._answers(operation["responses"]))

    def _parameter(self, parameter: Mapping[str, Any]) -> list[str]:
        schema = parameter["schema"]
        said = parameter.get("description") or meaning(schema)
        is_required = "Required." if parameter.get("required") and parameter["in"] != "path" else ""
        preset = f"Default {default(schema)}." if default(schema) else ""
        words = " ".join(each for each in (sentence(said), is_required, preset) if each)
        return [code(parameter["name"]), parameter["in"], kind(schema, _link), words]

    def _body(self, content: Mapping[str, Mapping[str, Schema]]) -> Iterator[str]:
        for media_type, each in content.items():
            of = "" if media_type == "application/json" else f" as `{media_type}`"
            schema = each["schema"]
            yield f"*Body*{of}: {kind(schema, _link)}."
            yield self._table(schema, is_asked=True)

    def _answers(self, responses: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
        for status in sorted(responses.keys() - _OF_THE_GATE):
            response = responses[status]
            content = response.get("content", {})
            shapes = [
                _content(media_type, each.get("schema", {}))
                for media_type, each in content.items()
                if media_type != _ERROR_TYPE
            ]
            headers = [
                f"{code(name)}: {sentence(header.get('description', ''))}"
                for name, header in response.get("headers", {}).items()
            ]
            yield [status, " ".join([sentence(response["description"]), *shapes, *headers])]

    def _objects(self, routes: list[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
        """The schemas that these routes name and nobody has shown, and those which they name."""
        first = [name for _, operation in routes for name in _of_operation(operation)]
        for name in self._reached(first):
            if name not in self._shown:
                self._shown.add(name)
                yield self._object(name)

    def _reached(self, first: Iterable[str]) -> Iterator[str]:
        """These schemas, those which they name, and so on; each once."""
        waiting = list(dict.fromkeys(first))
        for name in waiting:
            yield name
            waiting += [each for each in named(self._schemas[name]) if each not in waiting]

    def _object(self, name: str) -> str:
        schema = self._schemas[name]
        shape = self._table(schema, is_asked=name in self._asked)
        said = paragraph(schema.get("description", ""))
        return "\n\n".join([f"#### {name}", said, shape or sentence(kind(schema, _link))])

    def _table(self, schema: Schema, *, is_asked: bool) -> str:
        """The fields. What is answered has no defaults that a reader needs."""
        rows = list(self._fields(schema, is_asked=is_asked))
        if is_asked:
            return table(["Field", "Type", "Default", "Meaning"], rows)
        return table(["Field", "Type", "Meaning"], [[row[0], row[1], row[3]] for row in rows])

    def _fields(self, schema: Schema, *, is_asked: bool) -> Iterator[list[str]]:
        """A row for each field; those of which the same is said share one."""
        required = schema.get("required", [])
        alike: dict[tuple[str, str, str], list[str]] = {}
        for name, given in schema.get("properties", {}).items():
            field = without_null(given) if is_asked else given
            preset = "required" if name in required else default(field)
            row = (kind(field, _link), preset, sentence(meaning(field)))
            key = row if row[2] else (*row[:2], name)
            alike.setdefault(key, []).append(name)
        for (of, preset, said), names in alike.items():
            yield [
                ", ".join(code(each) for each in names),
                of,
                preset,
                "" if said in names else said,
            ]

    def _errors(self) -> str:
        head = ["Code", "Status", "Meaning"]
        return "\n\n".join([
            "## Errors", _ERRORS, self._object("Problem"), self._object("ErrorDetail"),
            "### Codes", table(head, map(_code, REFUSALS)),
            "### Codes of jobs", _FAILURES, table(head, map(_code, FAILURES)),
        ])  # fmt: skip


def _description() -> Mapping[str, Any]:
    """Of an api that offers everything; nothing is started, and nothing written."""
    secret = "whsec_" + base64.b64encode(bytes(24)).decode()
    settings = Settings(files_dir="files", webhook_secret=secret)
    broker, keys = MemoryBroker(max_jobs=1), MemoryApiKeys()
    app = create_app(settings, broker, load_tokenizer(settings.tokenizer), api_keys=keys)
    return app.openapi()


def _who(operation: Mapping[str, Any]) -> str:
    scopes = [scope for each in operation["security"] for scope in each.get("key", [])]
    return f"keys with the scope `{scopes[0]}`." if scopes else "everybody, without a key."


def _of_operation(operation: Mapping[str, Any]) -> Iterator[str]:
    for each in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from _of_content(each)


def _of_content(described: Mapping[str, Any]) -> Iterator[str]:
    """The schemas that a body or an answer names."""
    for media in described.get("content", {}).values():
        yield from named(media)


def _content(media_type: str, schema: Schema) -> str:
    if media_type == "text/event-stream":
        return "As events, if they are asked for."
    return "" if not schema else f"{sentence(kind(schema, _link))}"


def _link(name: str) -> str:
    return f"[{name}](#{anchor(name)})"


def _code(row: ErrorCode) -> list[str]:
    statuses = ", ".join(str(int(status)) for status in row.statuses)
    return [code(row.code), statuses, row.meaning]
