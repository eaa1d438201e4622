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


def test_a_command_that_serving_machines_lack_says_where_it_is_to_be_had():
    """An installation, or an image, that only serves has no training library."""
    line, status = error_line_and_status(ModuleNotFoundError("No module named 'polars'", name="polars"))
    assert status == BadInput.exit_status
    assert "needs polars" in line
    assert "vetrina[all]" in line


def test_a_missing_module_of_vetrina_itself_is_an_internal_error():
    error = ModuleNotFoundError("No module named 'vetrina.gone'", name="vetrina.gone")
    assert "internal error" in error_line_and_status(error)[0]


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
