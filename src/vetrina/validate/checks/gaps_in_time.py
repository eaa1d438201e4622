"""Check for days without events inside the log."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"
_MIN_EVENTS_PER_DAY = 20  # on average; in a smaller log empty days are normal


def run(data: CheckInput) -> CheckResult:
    """Warns about empty days in a log that usually has events every day: a broken feed or a missing file."""
    events = data.tables["events"]
    days = events.select(pl.col("timestamp").dt.date().alias("day")).unique().sort("day")
    calendar = pl.DataFrame({"day": pl.date_range(days["day"][0], days["day"][-1], eager=True)})
    empty_days = calendar.join(days, on="day", how="anti")
    is_dense = len(events) >= _MIN_EVENTS_PER_DAY * len(calendar)
    return check_result(
        "gaps_in_time",
        empty_days if is_dense else empty_days.clear(),
        "day",
        "a feed was interrupted or a file is missing",
        "nothing; ingest the missing days and run again",
    )
