"""Logs of processes that run for long: plain lines for a terminal, or JSON lines in the Elastic Common Schema (ECS).

Whoever reads a log must not read what users do: a traceback has the type of its error and the places of its frames, never the
error's message, which may hold an event, a query or a user's id. An error that is an argument of a message is reduced likewise.
"""

import logging
import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType

import msgspec

from vetrina.core.errors import VetrinaError
from vetrina.core.version import VERSION

_ECS_VERSION = "8.11.0"
_MAX_PATH_LENGTH = 1_024  # characters
_MAX_MESSAGE_LENGTH = 4_096  # characters
_MAX_CAUSES = 5  # errors of a chain that are logged
# C0 and C1 control characters and Unicode's line ends: what could begin a line or drive a terminal.
_CONTROL_CODES = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROL_CODES}


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """What the lines of the log say about the HTTP request that is being answered."""

    id: str
    method: str
    path: str


CURRENT_REQUEST: ContextVar[LoggedRequest | None] = ContextVar("current_request", default=None)


def configure(log_format: str, dataset: str) -> None:
    """Send the log of this process to standard error: warnings of all libraries, and what Vetrina reports.

    Args:
        log_format: ``text`` or ``json``.
        dataset: the part of Vetrina that the process is, such as ``vetrina.serve``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(EcsFormatter(dataset) if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("vetrina").setLevel(logging.INFO)


def report(log_format: str, dataset: str, line: str) -> None:
    """Print a line about the course of things: as it is in plain text, as a line of the log in JSON.

    Args:
        log_format: ``text`` or ``json``.
        dataset: the logger's name, such as ``vetrina.serve``.
        line: what to print.
    """
    if log_format == "json":
        logging.getLogger(dataset).info("%s", line)
    else:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def escaped(text: str) -> str:
    """A text from outside as part of one line: control characters escaped, at most 1,024 characters."""
    return text[:_MAX_PATH_LENGTH].translate(_ESCAPES)


class TextFormatter(logging.Formatter):
    """One line a record: time, level, message and the request's id; the frames of an error on indented lines below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        clock_time = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock_time} {record.levelname} {_message(record)}"
        request = CURRENT_REQUEST.get()
        if request is not None:
            line += f" (request {request.id})"
        error = _error_of(record)
        if error is not None:
            line += f": {_error_types(error)}"
            for frame in _frames(error.__traceback__):
                line += f"\n    {frame}"
        return line


class EcsFormatter(logging.Formatter):
    """One JSON object a record, with the fields of the Elastic Common Schema, and below ``vetrina.`` those that it lacks."""

    def __init__(self, dataset: str) -> None:
        super().__init__()
        self._dataset = dataset
        self._encoder = msgspec.json.Encoder()

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        fields: dict[str, object] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "log.level": record.levelname.lower(),
            "message": _message(record),
            "ecs.version": _ECS_VERSION,
            "service.name": "vetrina",
            "service.version": VERSION,
            "event.dataset": self._dataset,
            "log.logger": record.name,
            "process.pid": record.process,
        }
        request = CURRENT_REQUEST.get()
        if request is not None:
            fields["http.request.id"] = request.id
            fields["http.request.method"] = request.method
            fields["url.path"] = request.path
        status = getattr(record, "status", None)
        if status is not None:
            fields["http.response.status_code"] = status
        alert = getattr(record, "alert", None)
        if alert is not None:
            fields["event.kind"] = "alert"
            fields["vetrina.alert"] = alert
        error = _error_of(record)
        if error is not None:
            fields["error.type"] = _error_types(error)
            fields["error.stack_trace"] = "\n".join(_frames(error.__traceback__))
        return self._encoder.encode(fields).decode()


def _message(record: logging.LogRecord) -> str:
    """The message on one line, in which errors are named by their types."""
    message = str(record.msg)
    if record.name == "asyncio":  # after its first line, it describes the failed task with the error's message
        message = message.partition("\n")[0]
    if isinstance(record.args, tuple) and record.args:
        message = message % tuple(_loggable(value) for value in record.args)
    elif record.args:
        message = record.getMessage()
    line = message[:_MAX_MESSAGE_LENGTH].rstrip().translate(_ESCAPES)
    return line.encode("utf-8", "replace").decode()  # file names may hold bytes that are no text


def _loggable(value: object) -> object:
    if isinstance(value, VetrinaError) or not isinstance(value, BaseException):
        return value
    if isinstance(value, OSError) and value.strerror:
        return f"{type(value).__name__} ({value.strerror})"
    return type(value).__name__


def _error_of(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _error_types(error: BaseException) -> str:
    """The types of an error and of its causes, the last one first: ``KeyError < ValueError``."""
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < _MAX_CAUSES:
        names.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return " < ".join(names)


def _frames(traceback: TracebackType | None) -> list[str]:
    """File, line and function of each frame, the outermost first."""
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}")
        traceback = traceback.tb_next
    return frames
