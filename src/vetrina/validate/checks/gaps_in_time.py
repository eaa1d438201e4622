"""Days without a single event inside the log: a dead feed or a lost export."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"
_MIN_EVENTS_PER_DAY = 20


def run(data: CheckInput) -> CheckResult:
    """Empty days, if the shop usually sells every day."""
    days = data.tables["events"].select(pl.col("timestamp").dt.date().alias("day")).unique().sort("day")
    span = pl.DataFrame({"day": pl.date_range(days["day"][0], days["day"][-1], eager=True)})
    empty = span.join(days, on="day", how="anti")
    busy = len(data.tables["events"]) >= _MIN_EVENTS_PER_DAY * len(span)
    return check_result(
        "gaps_in_time",
        empty if busy else empty.clear(),
        "day",
        "a feed was dead or a file is missing",
        "nothing; ingest the missing days and run again",
    )
