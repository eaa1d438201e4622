"""Events that look made up to push a product."""

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"


def run(data: CheckInput) -> CheckResult:
    """Products and weeks with more users of a single day than chance allows; ``store.click_fraud`` says how they are told."""
    many = int(data.click_fraud["brief"].sum() or 0)
    return check_result(
        "pushed_products",
        data.click_fraud,
        "product_id",
        f"far more users than ever took to them within a week, {many:,} of them for that one day only",
        'what these users did with them is not learnt from; if it was real, set "[ingest] exclude_click_fraud = false"',
    )
