"""Check for suspected click fraud."""

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"


def run(data: CheckInput) -> CheckResult:
    """Warns about products and weeks that ``data.click_fraud`` reports."""
    n_single_day_users = int(data.click_fraud["brief"].sum() or 0)
    return check_result(
        "pushed_products",
        data.click_fraud,
        "product_id",
        "suspected click fraud: far more users in a week than chance explains, "
        f"{n_single_day_users:,} of them active for a single day only",
        "the events of these users on these products are excluded from training; "
        'if they are genuine, set "[ingest] exclude_click_fraud = false"',
    )
