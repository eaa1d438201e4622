"""Format of log lines: text for people, or JSON in the Elastic Common Schema (ECS) for collectors.

Field names: https://www.elastic.co/guide/en/ecs/current/ecs-field-reference.html. The message of an exception may hold what a
user asked or where the database is, so that only its type and the places in the code are written.
"""

import logging
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec

from vetrina.core.version import VERSION

FORMATS = ("text", "json")
# Id of the HTTP request that is being answered; empty outside of requests.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

_ECS_VERSION = "8.17"
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class TextFormatter(logging.Formatter):
    """One line a record, with the time and, within a request, its id; lines of a stack trace are indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        line = f"{moment} {escape(record.getMessage())}"
        request_id = REQUEST_ID.get()
        if request_id:
            line += f" [request {request_id}]"
        if record.exc_info:
            line += f"\n{stack_trace(record.exc_info)}"
        return line


class EcsFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The object as one line."""
        fields: dict[str, Any] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "log.level": record.levelname.lower(),
            "message": escape(record.getMessage()),
            "ecs.version": _ECS_VERSION,
            "service.name": "vetrina",
            "service.version": VERSION,
            "event.dataset": record.name,
            "process.pid": record.process,
            "process.thread.name": record.threadName,
        }
        request_id = REQUEST_ID.get()
        if request_id:
            fields["http.request.id"] = request_id
        fields.update(getattr(record, "ecs", {}))
        if record.exc_info and record.exc_info[0] is not None:
            fields["error.type"] = record.exc_info[0].__name__
            fields["error.stack_trace"] = stack_trace(record.exc_info)
        return msgspec.json.encode(fields).decode()


def configure_logging(log_format: str) -> None:
    """Write warnings and errors, and what Vetrina itself reports, to standard error.

    Args:
        log_format: one of FORMATS.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EcsFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("vetrina").setLevel(logging.INFO)


def escape(text: str) -> str:
    """The text with line breaks and other control characters as ``\\xNN``, so that nobody can forge a line."""
    return _CONTROL_CHARACTERS.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def stack_trace(exc_info: _ExcInfo) -> str:
    """Places in the code and the type of an exception, without its message."""
    error_type, _, trace = exc_info
    if error_type is None:
        return ""
    places = "".join(traceback.format_tb(trace))
    return f"{places}{error_type.__name__}"
