"""Check for a single user with a large share of all events (robot, test account, shared till)."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"
_MAX_EVENT_SHARE = 0.1
_MIN_USERS = 20  # in a smaller log a large share is normal


def run(data: CheckInput) -> CheckResult:
    """Warns about users with more than a tenth of the events."""
    counts = data.tables["events"].group_by("user_id").len()
    dominant = counts.filter(pl.col("len") > _MAX_EVENT_SHARE * pl.col("len").sum())
    offenders = dominant if len(counts) >= _MIN_USERS else dominant.clear()
    return check_result(
        "dominant_user",
        offenders,
        "user_id",
        "popularity and co-purchase would show one account's taste",
        "kept; leave the account out of the export if it is no customer",
    )
