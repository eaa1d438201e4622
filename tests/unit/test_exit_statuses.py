"""Exit statuses of the command line."""

from sqlalchemy.exc import OperationalError

from vetrina.cli.errors import error_line_and_status
from vetrina.core.errors import BadInput


def test_a_store_that_cannot_be_reached_is_no_bad_input():
    """`vetrina up` gives up a service with bad input only; a database that starts later is waited for."""
    line, status = error_line_and_status(OperationalError("SELECT 1", {}, Exception("connection refused")))
    assert status == 75
    assert status != BadInput.exit_status
    assert "\n" not in line
