"""The reference pages say what the code does, and nothing is missing in them."""

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from reader_support import ROOT

from preble.broker.keys import KEYS
from preble.broker.scripts import LIBRARY
from preble.config import Settings
from preble_api.error_codes import FAILURES, REFUSALS
from preble_api.openapi import Json
from tools.reference import http
from tools.reference.__main__ import FOLDER, PAGES, difference
from tools.reference.http import HttpPage
from tools.reference.kinds import kind, meaning
from tools.reference.markdown import anchor, table

SOURCES = [*(ROOT / "api").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
NAMED_BY_CONSTANTS = {"cancelled", "deadline_passed", "attempts_used_up"}
"""Failures that the broker declares."""
OF_THE_ROUTER = {"not_found", "method_not_allowed"}
CODES = {
    code: {status for row in (*REFUSALS, *FAILURES) if row.code == code for status in row.statuses}
    for code in (row.code for row in (*REFUSALS, *FAILURES))
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_as_the_code_is(name: str) -> None:
    assert difference(name) == "", "make the pages anew: python -m tools.reference"


@pytest.mark.parametrize("name", ["metrics.md", "keys.md"])
def test_a_page_that_is_not_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text((FOLDER / name).read_text().replace("| ", "| not ", 1))
    assert "+| " in difference(name, tmp_path)
    assert "-| not " in difference(name, tmp_path)


def test_every_setting_key_and_script_stands_on_its_page() -> None:
    configuration = (FOLDER / "configuration.md").read_text()
    assert [n for n in Settings.__struct_fields__ if f"### `{n}`" not in configuration] == []
    keys = (FOLDER / "keys.md").read_text()
    assert [key.template for key in KEYS if f"`{key.template}`" not in keys] == []
    scripts = [path.stem for path in (ROOT / "preble/broker/scripts").glob("*.lua")]
    assert [
        n for n in scripts if f"{n}.lua" not in LIBRARY and f"| `{n.upper()}` |" not in keys
    ] == []


def test_metrics_that_are_asked_for_are_there() -> None:
    tables, _, uses = (FOLDER / "metrics.md").read_text().partition("## What they are asked for")
    names = {name.removesuffix("_bucket") for name in re.findall(r"preble_\w+", uses)}
    assert names
    assert names <= set(re.findall(r"`(preble_\w+)`", tables))


def test_what_clients_send_is_explained_field_by_field() -> None:
    page = (FOLDER / "http.md").read_text()
    for name in ("JobRequest", "Sampling", "BatchRequest", "ChatRequest", "ResponseRequest"):
        [shape] = re.findall(rf"^#### {name}$(.*?)^#", page, re.DOTALL | re.MULTILINE)
        rows = [line for line in shape.splitlines() if line.startswith("| `")]
        assert rows
        assert [row for row in rows if row.endswith("|  |")] == []


def raised() -> Iterator[tuple[str, HTTPStatus | None]]:
    """Codes that stand in calls of `HttpError` and `JobFailure`, and the status beside them."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("HttpError"), [status, ast.Constant(str(code)), *_]):
                    yield code, _status(status)
                case ast.Call(ast.Name("JobFailure"), [ast.Constant(str(code)), *_]):
                    yield code, None
                case _:
                    pass


def _status(node: ast.expr) -> HTTPStatus | None:
    match node:
        case ast.Attribute(ast.Name("HTTPStatus"), name):
            return HTTPStatus[name]
        case _:
            return None


def test_every_code_that_is_raised_is_in_the_table_with_its_status() -> None:
    found = list(raised())
    assert len(found) > 30
    assert {code for code, _ in found} - CODES.keys() == set()
    assert [each for each in found if each[1] and each[1] not in CODES[each[0]]] == []


def test_every_code_of_the_table_is_raised_somewhere() -> None:
    text = "".join(path.read_text() for path in SOURCES if path.name != "error_codes.py")
    told = CODES.keys() - NAMED_BY_CONSTANTS - OF_THE_ROUTER
    assert [code for code in told if f'"{code}"' not in text] == []


def test_types_and_bounds_are_told_in_words() -> None:
    assert kind({"type": "integer", "minimum": 1, "maximum": 1000}) == "integer (1 to 1,000)"
    assert kind({"type": "number", "exclusiveMinimum": 0.0}) == "number (more than 0)"
    names = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 16}
    assert kind(names) == "list of text (1 or more characters) (at most 16 items)"
    either = {"anyOf": [{"type": "null"}, {"$ref": "#/x/Job", "description": "Which."}]}
    assert kind(either) == "null or `Job`"
    assert meaning(either) == "Which."


def test_a_route_without_a_section_still_stands_on_the_page() -> None:
    operation: Json = {"summary": "New", "tags": ["Pool"], "responses": {}, "security": []}
    problem = {"type": "object", "properties": {"status": {"type": "integer"}}}
    schemas = {"Problem": problem, "ErrorDetail": problem}
    description: Json = {"paths": {"/new": {"get": operation}}, "components": {"schemas": schemas}}
    page = HttpPage(description).render()
    assert "### `GET /new`\n\nNew." in page
    assert "everybody, without a key" in page
    assert http.page() == http.page()


def test_markdown_of_tables_and_links() -> None:
    assert table(["a"], [["x|y\nz"]]).endswith("| x\\|y z |")
    assert table(["a"], []) == ""
    assert anchor("`GET /v1/jobs/{job_id}`") == "get-v1jobsjob_id"
    assert anchor("[ADR](x.md) and, more") == "adr-and-more"


@pytest.mark.parametrize(
    ("route", "who"),
    [
        ("POST /v1/jobs", "keys with the scope `submit`."),
        ("GET /v1/jobs/{job_id}", "keys with the scope `read`."),
        ("DELETE /v1/files/{file_id}", "keys with the scope `submit`."),
        ("GET /livez", "everybody, without a key."),
    ],
)
def test_page_says_who_may_call(route: str, who: str) -> None:
    _, _, below = (FOLDER / "http.md").read_text().partition(f"### `{route}`\n")
    assert below.partition("*Who may call:* ")[2].startswith(who)
