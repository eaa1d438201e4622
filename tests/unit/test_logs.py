"""Lines of the log: their fields, and what never stands in them."""

import asyncio
import contextvars
import gc
import json
import logging
import sys
from pathlib import Path

import pytest

from vetrina.core import logs
from vetrina.core.errors import BadInput
from vetrina.core.logs import EcsFormatter, LoggedRequest, TextFormatter

SECRET = "ann@shop.example"


def test_every_field_is_one_of_ecs_or_below_vetrina():
    known = json.loads((Path(__file__).parents[1] / "fixtures" / "ecs-8.11.json").read_text())["fields"]
    line = record("failed", exc_info=failure(), status=503, alert="run:search")
    fields = json.loads(in_request(EcsFormatter("vetrina.operate"), line))
    assert {name for name in fields if name not in known} == {"vetrina.alert"}
    assert fields["event.kind"] in known["event.kind"]["allowed_values"]
    assert fields["vetrina.alert"] == "run:search"


def record(message: str, *values: object, exc_info=None, **extra: object) -> logging.LogRecord:
    """A record as a logger makes it."""
    return logging.getLogger("vetrina.serve").makeRecord(
        "vetrina.serve", logging.ERROR, "file.py", 1, message, values, exc_info, extra=extra
    )


def failure() -> tuple:
    """An error whose message, and whose cause's message, holds what a user sent."""
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise RuntimeError(f"no {SECRET}") from error
    except RuntimeError:
        return sys.exc_info()


def in_request(formatter: logging.Formatter, line: logging.LogRecord) -> str:
    """The line as it is written while a request is answered."""

    def write() -> str:
        logs.CURRENT_REQUEST.set(LoggedRequest("abc", "GET", "/v1/versions"))
        return formatter.format(line)

    return contextvars.copy_context().run(write)


def test_a_json_line_has_the_fields_of_ecs():
    """Names as in the Elastic Common Schema; one line an object."""
    line = in_request(EcsFormatter("vetrina.serve"), record("it failed", exc_info=failure(), status=500))
    assert "\n" not in line
    fields = json.loads(line)
    expected = {
        "log.level": "error",
        "message": "it failed",
        "service.name": "vetrina",
        "event.dataset": "vetrina.serve",
        "http.request.id": "abc",
        "http.request.method": "GET",
        "url.path": "/v1/versions",
        "http.response.status_code": 500,
        "error.type": "RuntimeError < KeyError",
    }
    assert expected.items() <= fields.items()
    assert fields["@timestamp"].endswith("+00:00")
    assert "in failure" in fields["error.stack_trace"]


def test_a_line_outside_of_a_request_names_none():
    """As those of the controller."""
    fields = json.loads(EcsFormatter("vetrina.operate").format(record("a run begins")))
    assert not [name for name in fields if name.startswith(("http", "url", "error"))]


@pytest.mark.parametrize("formatter", [TextFormatter(), EcsFormatter("vetrina.serve")], ids=["text", "json"])
def test_no_message_of_an_error_is_written(formatter):
    """S16, S53: what a driver or a decoder says may hold what a user sent; its type and its place do not."""
    for line in (record("failed", exc_info=failure()), record("failed: %s", failure()[1])):
        text = in_request(formatter, line)
        assert SECRET not in text
        assert "RuntimeError" in text
        assert "abc" in text


def test_what_vetrina_says_itself_is_written():
    """Its errors are written for readers."""
    line = TextFormatter().format(record("refused: %s", BadInput("7", "is too large", "send less")))
    assert line.endswith("refused: 7: is too large; send less")


@pytest.mark.parametrize("formatter", [TextFormatter(), EcsFormatter("vetrina.serve")], ids=["text", "json"])
@pytest.mark.parametrize("control", ["\n", "\r", "\x1b[2J", "\x85", "\u2028"])
def test_a_value_begins_no_line(formatter, control):
    """S19: control characters are escaped, so that nobody forges lines or drives a terminal."""
    line = formatter.format(record("%s failed", f"/v1/x{control}CRITICAL forged"))
    assert control[0] not in line
    assert len(line.splitlines()) == 1


def test_text_and_json_are_written_to_standard_error(capsys):
    """``[log] format`` decides how what a command reports is written."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        for log_format in ("text", "json"):
            logs.configure(log_format, "vetrina.serve")
            logs.report(log_format, "vetrina.serve", "listening on http://127.0.0.1:1")
    finally:
        logging.basicConfig(handlers=handlers, level=level, force=True)
        logging.getLogger("vetrina").setLevel(logging.NOTSET)
    text, as_json = capsys.readouterr().err.splitlines()
    assert text == "listening on http://127.0.0.1:1"
    assert json.loads(as_json)["message"] == text


@pytest.mark.parametrize("formatter", [TextFormatter(), EcsFormatter("vetrina.serve")])
def test_a_task_that_nobody_waits_for_is_logged_without_the_message_of_its_error(formatter, caplog):
    """asyncio describes the task with its error in the text of the line."""

    async def fail() -> None:
        raise RuntimeError(SECRET)

    async def forget() -> None:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])

    asyncio.run(forget())
    gc.collect()
    lines = [formatter.format(line) for line in caplog.records if line.name == "asyncio"]
    assert "Task exception was never retrieved" in lines[-1]
    assert "RuntimeError" in lines[-1]
    assert SECRET not in "".join(lines)
