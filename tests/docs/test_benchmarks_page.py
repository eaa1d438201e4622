"""Figures in texts are those of the results' files, and a benchmark writes such a file when it is through."""

import msgspec
import pytest
from benchmarks import record, render


def test_the_page_is_what_its_results_render_to():
    assert render.PAGE.read_text() == render.page(record.read_all()), "run `python -m benchmarks.render`"


def test_the_readme_shows_the_six_results_of_today():
    readme = render.README.read_text()
    assert readme == render.with_six_results(readme, record.read_all()), "run `python -m benchmarks.render`"
    assert len(render.HEADLINES) == 6


def test_a_changed_figure_changes_page_and_readme():
    results = record.read_all()
    table = results["launches"].tables[0]
    table.rows[0] = (table.rows[0][0], "11.11", *table.rows[0][2:])
    assert "| 1 % | 11.11 |" in render.page(results)
    assert "category affinity 11.11" in render.six_results(results)


def test_a_result_that_lost_the_row_that_the_readme_shows_is_named():
    results = record.read_all()
    results["pacing"].tables.clear()
    with pytest.raises(LookupError, match="pacing: has no row 'a generated day'"):
        render.six_results(results)


def test_every_row_has_as_many_cells_as_its_table_has_columns():
    for name, result in record.read_all().items():
        for table in result.tables:
            assert table.rows, name
            assert {len(row) for row in table.rows} == {len(table.columns)}, name


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def test_a_run_is_recorded_with_protocol_commit_date_and_machine(results, capsys):
    def measure() -> None:
        record.row("first", "1.5", "goal 1")
        record.heading("on other data")
        record.row("second", "2.5")
        record.note("in 3 CPU-s")

    description = "Speed of a thing.\n\nTen times,\none thread.\n"
    record.record("speed", description, measure, ["small", "100"])
    recorded = record.read_all(results)["speed-small"]
    assert (recorded.title, recorded.protocol) == ("Speed of a thing", "Ten times, one thread.")
    assert recorded.command == "python -m benchmarks.speed small 100"
    assert [table.title for table in recorded.tables] == ["", "on other data"]
    assert recorded.tables[0].rows == [("first", "1.5", "goal 1")]
    assert recorded.notes == ["in 3 CPU-s"]
    assert recorded.commit
    assert recorded.date
    assert recorded.machine
    assert not recorded.transcribed
    assert "first" in capsys.readouterr().out
    assert "| second | 2.5 |  |" in render.page({"speed-small": recorded})


def test_a_run_that_fails_leaves_the_result_of_before(results):
    record.record("speed", "Speed.", lambda: record.row("first", "1"))
    before = (results / "speed.json").read_bytes()

    def fail() -> None:
        record.row("first", "2")
        raise RuntimeError("the data is damaged")

    with pytest.raises(RuntimeError):
        record.record("speed", "Speed.", fail)
    assert (results / "speed.json").read_bytes() == before


def test_a_result_without_its_commit_is_refused(results):
    (results / "speed.json").write_text('{"title": "Speed"}')
    with pytest.raises(msgspec.ValidationError):
        record.read_all(results)
