"""Latency check of the gate: a busy machine refuses no good version, and a slow version is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vetrina.gate.gate import Policy, check_fresh_process
from vetrina.gate.probe import ProbeResult

POLICY = Policy(latency_ms=100.0)
FAST_MS = 20.0
SLOW_MS = 400.0
BUNDLE = Path("bundle")


def processes(*outcomes: float | str) -> tuple[Callable[[str, Path], ProbeResult | str], Sequence[float | str]]:
    """A probe whose fresh processes have these 99th percentiles in milliseconds, or fail; and those that were not started."""
    waiting = list(outcomes)

    def measure(scenario: str, folder: Path) -> ProbeResult | str:
        outcome = waiting.pop(0)
        if isinstance(outcome, str):
            return outcome
        return ProbeResult(
            open_ms=50.0,
            p50_ms=5.0,
            p99_ms=outcome,
            memory_mb=60.0,
            disk_mb=10.0,
            cpu_us=900.0,
            row_cpu_us=None,
            processor="any",
        )

    return measure, waiting


def test_a_version_measured_slow_once_and_fast_the_second_time_passes():
    measure, waiting = processes(SLOW_MS, FAST_MS, SLOW_MS)
    reason = check_fresh_process("recommend", BUNDLE, POLICY, measure=measure)
    assert reason.passed
    assert reason.numbers["p99_ms"] == FAST_MS
    assert len(waiting) == 1, "a fast answer ends the measuring"


def test_a_version_measured_slow_three_times_is_refused_with_its_fastest_process():
    measure, waiting = processes(SLOW_MS, SLOW_MS - 100.0, SLOW_MS + 100.0, FAST_MS)
    reason = check_fresh_process("recommend", BUNDLE, POLICY, measure=measure)
    assert not reason.passed
    assert reason.numbers["p99_ms"] == SLOW_MS - 100.0
    assert len(waiting) == 1, "three processes are enough"


def test_a_fast_version_is_measured_once():
    measure, waiting = processes(FAST_MS, SLOW_MS)
    assert check_fresh_process("recommend", BUNDLE, POLICY, measure=measure).passed
    assert len(waiting) == 1


def test_an_audience_has_no_latency_limit_and_is_measured_once():
    measure, waiting = processes(SLOW_MS, FAST_MS)
    assert check_fresh_process("launch", BUNDLE, POLICY, measure=measure).passed
    assert len(waiting) == 1


@pytest.mark.parametrize("outcomes", [("no module",), (SLOW_MS, "no answer within 120 s")])
def test_a_process_that_does_not_answer_is_refused(outcomes):
    measure, waiting = processes(*outcomes)
    reason = check_fresh_process("recommend", BUNDLE, POLICY, measure=measure)
    assert not reason.passed
    assert outcomes[-1] in reason.text
    assert not waiting
