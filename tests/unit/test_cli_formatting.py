"""Lines that the command line prints, made from plain values."""

from vetrina.cli import formatting
from vetrina.core.data_report import CheckResult, DataReport, Readiness
from vetrina.core.verdicts import Reason, ReleaseResult


def report(ready: bool, *checks: CheckResult) -> DataReport:
    return DataReport("recommend", "s", checks, Readiness("recommend", ready, "3 events", "search"))


def test_a_run_without_a_release_prints_the_failed_checks_or_that_nothing_is_new():
    row = {"scenario": "recommend", "release": None, "verdict": "pass"}
    few = CheckResult("few events", "FAIL", 3, "u1", "too few to learn from", "nothing is trained")
    not_ready = formatting.format_no_release(row, report(False, few), "recommend-1")
    assert not_ready.splitlines()[0] == "recommend: not ready (3 events)"
    assert "FAIL few events" in not_ready
    assert formatting.format_no_release(row, report(True), "recommend-1") == "recommend: nothing new since recommend-1"
    assert formatting.format_no_release(row, report(True), None) == "recommend: nothing new since the last verdict"


def test_a_release_prints_the_reasons_of_the_gate():
    release = ReleaseResult("recommend-2", "recommend", "live", "testing", "v", "shadow and canary decide")
    reasons = [
        Reason("champion", True, "no worse"),
        Reason("not-evaluable", True, "no labels", evaluable=False),
        Reason("loads-and-answers", False, "too slow"),
    ]
    lines = formatting.format_release({"scenario": "recommend", "release": release}, reasons).splitlines()
    assert lines[0] == "recommend: recommend-2 testing (live: shadow and canary decide)"
    assert lines[1:4] == ["  pass  no worse", "  n/a   no labels", "  FAIL  too slow"]
    assert "vetrina releases" in lines[4]
