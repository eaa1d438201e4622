"""Exit statuses of the command line."""

import sys

from click.testing import CliRunner
from sqlalchemy.exc import OperationalError

from vetrina.cli.errors import error_line_and_status
from vetrina.cli.main import cli
from vetrina.core.errors import BadInput


def test_a_store_that_cannot_be_reached_is_no_bad_input():
    """`vetrina up` gives up a service with bad input only; a database that starts later is waited for."""
    line, status = error_line_and_status(OperationalError("SELECT 1", {}, Exception("connection refused")))
    assert status == 75
    assert status != BadInput.exit_status
    assert "\n" not in line


def test_an_export_without_its_extra_names_the_extra(tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("vetrina.edge")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    failed = CliRunner().invoke(cli, ["--shop-dir", str(tmp_path), "export", "recommend-0014c957a6fb"])
    assert failed.exception is not None
    line, status = error_line_and_status(failed.exception)
    assert status == 2
    assert line == 'vetrina: export: needs torch; pip install "vetrina[edge]"'
    assert list(tmp_path.iterdir()) == []
