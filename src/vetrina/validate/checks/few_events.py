"""Too little behaviour to learn from."""

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "events"
_FEW = 1_000


def run(shop: Shop) -> CheckResult:
    """Fewer than a thousand events."""
    events = shop.tables["events"]
    offenders = events if len(events) < _FEW else events.clear()
    return result(
        "few_events",
        offenders,
        "timestamp",
        f"fewer than {_FEW} events: differences will not show",
        "trained all the same; the verdict states what it could have seen",
    )
