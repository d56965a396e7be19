"""How a line of the log looks, as text and as JSON, and what is bound to it."""

import asyncio
import json
import logging
import re
from collections.abc import Generator
from typing import Any

import pytest

from preble.logs import LogFormat, configure_logging, log_context, logged_with

_log = logging.getLogger("preble.somewhere")


Said = pytest.CaptureFixture[str]


@pytest.fixture
def said(capsys: Said) -> Generator[Said]:
    """What is written to stderr; the test's own logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for each in handlers:  # or they would be closed
        root.removeHandler(each)
    yield capsys
    root.handlers[:] = handlers
    root.setLevel(level)


def as_json(said: Said) -> dict[str, Any]:
    (line,) = said.readouterr().err.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_text_has_time_level_process_message_and_context(said: Said) -> None:
    configure_logging("info", "worker gpu0")
    with logged_with(job_id="7"):
        _log.warning("lost %d leases", 3)
    _log.debug("nobody wants to know")
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING worker gpu0: lost 3 leases job_id=7\n"
    assert re.fullmatch(line, said.readouterr().err)


def test_a_traceback_follows_its_line(said: Said) -> None:
    configure_logging("info", "api")
    with logged_with(request_id="req_1"):
        _fail()
    first, second, *_, last = said.readouterr().err.splitlines()
    assert first.endswith("ERROR api: a request failed request_id=req_1")
    assert second == "Traceback (most recent call last):"
    assert last == "ValueError: invalid literal for int() with base 10: 'no'"


@pytest.mark.parametrize("message", ["two\nlines", 'a "quote"', "ünïcode"])
def test_json_is_one_object_for_each_line(said: Said, message: str) -> None:
    configure_logging("info", "scheduler", "json")
    with logged_with(job_id="7"):
        _log.info(message)
    line = as_json(said)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info", "process": "scheduler", "logger": "preble.somewhere", "message": message,
        "job_id": "7",
    }  # fmt: skip


def test_json_holds_a_traceback(said: Said) -> None:
    configure_logging("info", "api", "json")
    _fail()
    assert as_json(said)["exception"].endswith(
        "ValueError: invalid literal for int() with base 10: 'no'"
    )


def _fail() -> None:
    try:
        int("no")
    except ValueError:
        _log.exception("a request failed")


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.anyio
async def test_what_a_task_binds_is_its_own_and_its_children_s(
    said: Said, log_format: LogFormat
) -> None:
    configure_logging("info", "api", log_format)

    async def work(name: str) -> None:
        log_context(job_id=name)
        await asyncio.create_task(child(name))

    async def child(name: str) -> None:
        _log.info("this is %s", name)

    await asyncio.gather(work("one"), work("two"))
    _log.info("this is nobody")
    for line in said.readouterr().err.splitlines():
        names = set(re.findall(r"one|two|nobody", line))
        assert len(names) == 1
        assert ("job_id" in line) == (names != {"nobody"})
