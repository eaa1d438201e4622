"""The threat model's table holds every finding of the security review once, and its statuses are those of the tests it names."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/threat-model.md"
FINDINGS = 61
STATUSES = {"fixed", "partly", "planned", "accepted"}
ROW = re.compile(r"^\| S(\d+) \| ([^|]+) \| (\w+) \| (\w+)([^|]*) \| ([^|]+) \|$", re.M)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
XFAIL = "xfail"


@dataclass(frozen=True)
class Finding:
    """A row of the table."""

    number: int
    severity: str
    status: str
    reason: str
    tests: tuple[tuple[str, str], ...]  # file and function


def findings() -> list[Finding]:
    """The rows, in their order."""
    rows = []
    for number, _, severity, status, reason, tests in ROW.findall(PAGE.read_text()):
        rows.append(Finding(int(number), severity, status, reason.strip(": "), tuple(TEST.findall(tests))))
    return rows


@cache
def open_tests(file: str) -> dict[str, bool]:
    """Whether each test of a file is expected to fail: it, or a mark that it uses, says so."""
    source = (ROOT / file).read_text()
    tree = ast.parse(source)
    marks = {XFAIL}
    for node in tree.body:
        if isinstance(node, ast.Assign) and XFAIL in ast.unparse(node.value):
            marks |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    tests_by_finding = {}
    for node in functions(tree):
        words = set(re.findall(r"\w+", ast.unparse(node)))
        tests_by_finding[node.name] = bool(words & marks)
    return tests_by_finding


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a module, with their decorators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_finding_stands_in_the_table_once():
    assert [finding.number for finding in findings()] == list(range(1, FINDINGS + 1))


@pytest.mark.parametrize("finding", findings(), ids=lambda finding: f"S{finding.number}")
def test_the_status_of_a_finding_is_that_of_its_tests(finding: Finding):
    assert finding.severity in {"critical", "high", "medium", "low"}
    assert finding.status in STATUSES
    expected_to_fail = []
    for file, name in finding.tests:
        assert name in open_tests(file), f"{file} has no {name}"
        expected_to_fail.append(open_tests(file)[name])
    if finding.status == "fixed":
        assert expected_to_fail, "a finding that is fixed names the test that shows it"
        assert not any(expected_to_fail), finding.tests
    if finding.status == "planned":
        assert all(expected_to_fail), "a planned finding whose test passes is fixed"
    if finding.status == "partly":
        assert not all(expected_to_fail), "what is fixed of it is shown by a test"


def test_no_grave_finding_is_accepted():
    for finding in findings():
        if finding.status == "accepted":
            assert finding.severity in {"medium", "low"}, finding
            assert finding.reason, f"S{finding.number}: say why it is accepted"


def test_no_test_of_a_fixed_finding_is_expected_to_fail():
    fixed = {finding.number for finding in findings() if finding.status == "fixed"}
    still_open = set()
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for number in re.findall(r'reason ?= ?"S(\d+)', file.read_text()):
            still_open.add(int(number))
    assert not fixed & still_open
