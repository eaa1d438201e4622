"""Which events look made up to push a product. Knows nothing of what they are used for.

Whoever pushes a product needs many accounts, and accounts are cheap only when they are new and do little else. So a product is
looked at by weeks: how many of the users who take to it come for a single day and never again. More than chance allows, beside
what is usual in that week and was so far of that product, while it also draws more users than it used to, is called a push.
"""

from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import binom, poisson

_SINGLE_DAY = pl.duration(days=1)
_WEEK_SECONDS = 7 * 86_400
_MIN_SINGLE_DAY_USERS, _SIGNIFICANCE = (
    10,
    1e-4,
)  # brief users of a push; chance that one is called in a whole log without any
_FILE = "pushes.parquet"
_AD_CLICK = "ad_click"
_SCHEMA = {"product_id": pl.String, "week": pl.Int64, "users": pl.Int64, "brief": pl.Int64}
_MAX_SINGLE_DAY_SHARE = 0.95  # as good as everybody
_SMOOTHING_USERS = 20.0  # users by which a product's own share of brief ones is drawn to that of all


def detect_click_fraud(events: pl.DataFrame) -> pl.DataFrame:
    """``product_id``, ``week`` (seconds since 1970 over seven days), ``users`` and ``brief`` of each push, largest first.

    ``events`` hold ``timestamp``, ``user_id`` and ``product_id``. Where they have a ``type``, clicks on ads are looked at once
    more by themselves: they are so few that a push of them drowns among those who look at the product anyway.
    """
    brief = _single_day_users(events)
    parts = (
        [events]
        if "type" not in events.columns
        else [events, events.filter(pl.col("type").cast(pl.String) == _AD_CLICK)]
    )
    found = [_detect(part, brief) for part in parts]
    return pl.concat(found).unique(["product_id", "week"], keep="first").sort(-pl.col("brief"), "product_id", "week")


def _detect(events: pl.DataFrame, brief: pl.DataFrame) -> pl.DataFrame:
    if not _may_contain_fraud(events, brief):
        return pl.DataFrame(schema=_SCHEMA)
    cells = _weekly_counts(_user_product_weeks(events, brief))
    found = []
    while True:  # pushes make brief users look usual: without the worst of them, the others show
        more = _suspicious_weeks(cells)
        found.append(more)
        if more.is_empty():
            return pl.concat(found)
        cells = cells.join(more, on=["product_id", "week"], how="anti")


def _suspicious_weeks(cells: pl.DataFrame) -> pl.DataFrame:
    users = pl.col("users")
    brief = pl.col("brief")
    cells = cells.sort("product_id", "week").with_columns(
        usual=(brief.sum().over("week") - brief) / pl.max_horizontal(users.sum().over("week") - users, 1),
        earlier=users.cum_sum().over("product_id") - users,
        earlier_brief=brief.cum_sum().over("product_id") - brief,
        weeks=pl.max_horizontal(pl.col("week") - pl.col("week").min().over("product_id"), 1),
    )
    many = max(1, len(cells))
    cells = cells.filter(brief >= _MIN_SINGLE_DAY_USERS).with_columns(
        own=(pl.col("earlier_brief") + _SMOOTHING_USERS * pl.col("usual")) / (pl.col("earlier") + _SMOOTHING_USERS),
    )
    # Users a week, told by those who came again: the first days of a push must not excuse the rest of it.
    again = (pl.col("earlier") - pl.col("earlier_brief")) / pl.col("weeks")
    cells = cells.with_columns(share=pl.max_horizontal("usual", "own").clip(1e-9, _MAX_SINGLE_DAY_SHARE))
    cells = cells.with_columns(before=(again / (1.0 - pl.col("share"))).clip(1.0))
    share = cells["share"].to_numpy()
    chance = binom.sf(cells["brief"].to_numpy() - 1, cells["users"].to_numpy(), share)
    grown = poisson.sf(cells["users"].to_numpy() - 1, cells["before"].to_numpy())
    return cells.filter(pl.Series(np.maximum(chance, grown) < _SIGNIFICANCE / many)).select(
        "product_id", "week", "users", "brief"
    )


def exclude_click_fraud(events: pl.DataFrame, fraud_weeks: pl.DataFrame) -> pl.DataFrame:
    """``events`` without what brief users did with a product in a week of its push or beside it, in the same order."""
    if fraud_weeks.is_empty():
        return events
    brief = _single_day_users(events)
    # A push begins and ends within a week, in which it may be too small to be called one.
    cells = pl.concat([fraud_weeks.select("product_id", pl.col("week") + step) for step in (-1, 0, 1)])
    doubted = (
        events.select("timestamp", "user_id", "product_id")  # further columns may be called anything
        .with_row_index("row")
        .with_columns(week=_week(), product_id=pl.col("product_id").cast(pl.String))
        .join(brief, on="user_id", how="semi")
        .join(cells, on=["product_id", "week"], how="semi")
    )
    return events.filter(~pl.int_range(pl.len()).is_in(doubted["row"].implode()))


def write(folder: Path, fraud_weeks: pl.DataFrame) -> None:
    """Beside a snapshot's tables, where there is something to doubt."""
    if len(fraud_weeks):
        fraud_weeks.write_parquet(folder / _FILE)


def read(folder: Path) -> pl.DataFrame:
    """What ``keep`` wrote, empty where it did not."""
    file = folder / _FILE
    return pl.read_parquet(file) if file.exists() else pl.DataFrame(schema=_SCHEMA)


def _single_day_users(events: pl.DataFrame) -> pl.DataFrame:
    """``user_id`` of those of whom all that is known lies within a day."""
    times = events.group_by("user_id").agg(since=pl.col("timestamp").min(), until=pl.col("timestamp").max())
    return times.filter(pl.col("until") - pl.col("since") <= _SINGLE_DAY).select("user_id")


def _may_contain_fraud(events: pl.DataFrame, brief: pl.DataFrame) -> bool:
    """Whether any product has enough brief users for a push at all; most logs are done with here."""
    if len(brief) < _MIN_SINGLE_DAY_USERS:
        return False
    theirs = events.drop_nulls("product_id").join(brief, on="user_id", how="semi")
    return bool(
        (theirs.group_by("product_id").agg(pl.col("user_id").n_unique())["user_id"] >= _MIN_SINGLE_DAY_USERS).any()
    )


def _user_product_weeks(events: pl.DataFrame, brief: pl.DataFrame) -> pl.DataFrame:
    """``user_id``, ``product_id``, ``week`` and ``brief``, each user once with a product in a week."""
    product = pl.col("product_id").cast(pl.String)
    pairs = events.drop_nulls("product_id").select("user_id", product, week=_week()).unique()
    marked = brief.with_columns(brief=pl.lit(value=True))
    return pairs.join(marked, on="user_id", how="left").with_columns(pl.col("brief").fill_null(value=False))


def _weekly_counts(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.group_by("product_id", "week").agg(
        users=pl.len().cast(pl.Int64), brief=pl.col("brief").sum().cast(pl.Int64)
    )


def _week() -> pl.Expr:
    return pl.col("timestamp").dt.epoch("s") // _WEEK_SECONDS
