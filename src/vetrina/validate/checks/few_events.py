"""Check for too few events to learn from."""

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"
_MIN_EVENTS = 1_000


def run(data: CheckInput) -> CheckResult:
    """Warns below a thousand events."""
    events = data.tables["events"]
    offenders = events if len(events) < _MIN_EVENTS else events.clear()
    return check_result(
        "few_events",
        offenders,
        "timestamp",
        f"fewer than {_MIN_EVENTS} events: small differences cannot be detected",
        "trained all the same; the verdict states the smallest difference that it can detect",
    )
