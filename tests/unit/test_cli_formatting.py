"""Lines for people, made of values alone: printing asks nothing of a shop."""

from vetrina.cli import formatting as lines
from vetrina.core.types import CheckResult, DataReport, Readiness, ReleaseResult


def report(ready: bool, *checks: CheckResult) -> DataReport:
    return DataReport("recommend", "s", checks, Readiness("recommend", ready, "3 events", "search"))


def test_a_run_that_made_nothing_says_what_the_data_lack_or_that_nothing_is_new():
    row = {"scenario": "recommend", "release": None}
    few = CheckResult("few events", "FAIL", 3, "u1", "too few to learn from", "nothing is trained")
    lacking = lines.no_release(row, report(False, few), "recommend-1")
    assert lacking.splitlines()[0] == "recommend: not ready (3 events)"
    assert "FAIL few events" in lacking
    assert lines.no_release(row, report(True), "recommend-1") == "recommend: nothing new since recommend-1"
    assert lines.no_release(row, report(True), None) == "recommend: nothing new since the last verdict"


def test_a_release_comes_with_the_reasons_of_the_gate():
    made = ReleaseResult("recommend-2", "recommend", "live", "testing", "v", "shadow and canary decide")
    reasons = [
        {"passed": True, "text": "no worse"},
        {"passed": True, "text": "no labels", "evaluable": False},
        {"passed": False, "text": "too slow"},
    ]
    found = lines.format_release({"scenario": "recommend", "release": made}, reasons).splitlines()
    assert found[0] == "recommend: recommend-2 testing (live: shadow and canary decide)"
    assert found[1:4] == ["  pass  no worse", "  n/a   no labels", "  FAIL  too slow"]
    assert "vetrina releases" in found[4]
