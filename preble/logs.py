"""One log for all processes: UTC time, level, process, message with `key=value`s, and its context.

    2026-11-23T18:30:00.123Z WARNING api: the inbox cannot be read: … request_id=req_5f0c…
    {"time": "…", "level": "warning", "process": "api", "logger": "preble_api.inbox", "message": …}

Every module logs through the standard library; structlog renders. What `log_context` binds stands
on each line that is logged below it. Prompts, outputs and secrets are never logged.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, merge_contextvars
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

LogFormat = Literal["text", "json"]

_SHOWN: Final = frozenset({"time", "level", "process", "logger", "message", "exception"})
"""What has a place of its own in a line of text, or none; the rest is context."""


def configure_logging(level: str, process: str, log_format: LogFormat = "text") -> None:
    """Send this process's log to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        process: Name shown on each line, such as `scheduler` or `worker gpu0`.
        log_format: A line to be read, or one JSON object.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(process, log_format))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def log_context(**ids: str) -> None:
    """Bind ids to the rest of this task, and to the tasks it begins."""
    bind_contextvars(**ids)


def logged_with(**ids: str) -> AbstractContextManager[None]:
    """Bind ids to all that is logged inside of it."""
    return bound_contextvars(**ids)


def _formatter(process: str, log_format: LogFormat) -> ProcessorFormatter:
    described: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        ExceptionRenderer(),
        TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True, key="time"),
        _Named(process),
    ]
    last: Processor = JSONRenderer() if log_format == "json" else _line
    return ProcessorFormatter(
        foreign_pre_chain=described,
        processors=[ProcessorFormatter.remove_processors_meta, last],
    )


class _Named:
    """Puts the process and the message first, and the time to the millisecond."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        context = dict(event)
        first = {
            "time": context.pop("time")[:-4] + "Z",
            "level": context.pop("level"),
            "process": self._process,
            "logger": context.pop("logger"),
            "message": context.pop("event"),
        }
        return first | context


def _line(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    """As a line to be read; a traceback follows on lines of its own."""
    head = f"{event['time']} {event['level'].upper()} {event['process']}: {event['message']}"
    said = [head, *_context(event)]
    exception = event.get("exception")
    return " ".join(said) + (f"\n{exception}" if exception else "")


def _context(event: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in event.items() if name not in _SHOWN]
