"""Too little behaviour to learn from."""

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"
_MIN_EVENTS = 1_000


def run(data: CheckInput) -> CheckResult:
    """Fewer than a thousand events."""
    events = data.tables["events"]
    offenders = events if len(events) < _MIN_EVENTS else events.clear()
    return check_result(
        "few_events",
        offenders,
        "timestamp",
        f"fewer than {_MIN_EVENTS} events: differences will not show",
        "trained all the same; the verdict states what it could have seen",
    )
