"""One user with a large share of all events: a robot, a test account, a till without customer card."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "events"
_SHARE = 0.1
_ENOUGH_USERS = 20


def run(shop: Shop) -> CheckResult:
    """Users with over a tenth of the events."""
    counts = shop.tables["events"].group_by("user_id").len()
    heavy = counts.filter(pl.col("len") > _SHARE * pl.col("len").sum())
    offenders = heavy if len(counts) >= _ENOUGH_USERS else heavy.clear()
    return result(
        "dominant_user",
        offenders,
        "user_id",
        "popularity and co-purchase would show one account's taste",
        "kept; leave the account out of the export if it is no shopper",
    )
