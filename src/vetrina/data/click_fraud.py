"""Click-fraud (shilling) detection in the event log. It knows nothing of what the events are used for.

An attack on a product needs many accounts, and accounts are cheap only if they are new and do little else. So for each product
and week the number of single-day users, whose events all lie within a day, is tested. A week is suspicious if it has more
single-day users than chance explains, given their share in that week and in the product's past (binomial test), and more users
than the product usually has (Poisson test).
"""

from pathlib import Path

import numpy as np
import polars as pl

_SINGLE_DAY = pl.duration(days=1)
_WEEK_SECONDS = 7 * 86_400
# Single-day users that a suspicious week has at least.
_MIN_SINGLE_DAY_USERS = 10
# Probability of a false alarm in a whole log without fraud.
_SIGNIFICANCE = 1e-4
_FILE = "pushes.parquet"
_AD_CLICK = "ad_click"
_SCHEMA = {"product_id": pl.String, "week": pl.Int64, "users": pl.Int64, "brief": pl.Int64}
# Highest expected share of single-day users.
_MAX_SINGLE_DAY_SHARE = 0.95
# Users with the share of the whole week that are added to a product's own users (shrinkage).
_SMOOTHING_USERS = 20.0


def detect_click_fraud(events: pl.DataFrame) -> pl.DataFrame:
    """Suspicious weeks of products.

    Ad clicks are also tested alone: they are so few that fraud among them disappears among the product's other events.

    Args:
        events: Rows with ``timestamp``, ``user_id``, ``product_id`` and, if known, ``type``.

    Returns:
        ``product_id``, ``week`` (seconds since 1970 over seven days), ``users`` and ``brief`` (single-day users), most
        single-day users first.
    """
    single_day_users = _single_day_users(events)
    results = [_detect(events, single_day_users)]
    if "type" in events.columns:
        ad_clicks = events.filter(pl.col("type").cast(pl.String) == _AD_CLICK)
        results.append(_detect(ad_clicks, single_day_users))
    fraud_weeks = pl.concat(results).unique(["product_id", "week"], keep="first")
    return fraud_weeks.sort(-pl.col("brief"), "product_id", "week")


def _detect(events: pl.DataFrame, single_day_users: pl.DataFrame) -> pl.DataFrame:
    if not _may_contain_fraud(events, single_day_users):
        return pl.DataFrame(schema=_SCHEMA)
    counts = _weekly_counts(_user_product_weeks(events, single_day_users))
    results: list[pl.DataFrame] = []
    # Fraud raises the expected share of single-day users: without the worst weeks, others become significant.
    while True:
        suspicious = _suspicious_weeks(counts)
        results.append(suspicious)
        if suspicious.is_empty():
            return pl.concat(results)
        counts = counts.join(suspicious, on=["product_id", "week"], how="anti")


def _suspicious_weeks(counts: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``counts`` with significantly many single-day users and significantly many users."""
    users = pl.col("users")
    brief = pl.col("brief")
    other_users_of_week = users.sum().over("week") - users
    other_brief_of_week = brief.sum().over("week") - brief
    counts = counts.sort("product_id", "week").with_columns(
        week_share=other_brief_of_week / pl.max_horizontal(other_users_of_week, 1),
        earlier_users=users.cum_sum().over("product_id") - users,
        earlier_brief=brief.cum_sum().over("product_id") - brief,
        n_weeks=pl.max_horizontal(pl.col("week") - pl.col("week").min().over("product_id"), 1),
    )
    n_tests = max(1, len(counts))
    smoothed_brief = pl.col("earlier_brief") + _SMOOTHING_USERS * pl.col("week_share")
    smoothed_users = pl.col("earlier_users") + _SMOOTHING_USERS
    counts = counts.filter(brief >= _MIN_SINGLE_DAY_USERS).with_columns(product_share=smoothed_brief / smoothed_users)
    expected_share = pl.max_horizontal("week_share", "product_share").clip(1e-9, _MAX_SINGLE_DAY_SHARE)
    counts = counts.with_columns(expected_share=expected_share)
    # Users a week are derived from returning users: the first days of an attack must not excuse the rest of it.
    returning_users_per_week = (pl.col("earlier_users") - pl.col("earlier_brief")) / pl.col("n_weeks")
    expected_users = (returning_users_per_week / (1.0 - pl.col("expected_share"))).clip(1.0)
    counts = counts.with_columns(expected_users=expected_users)
    columns = ("product_id", "week", "users", "brief")
    if counts.is_empty():
        return counts.select(columns)
    from scipy.stats import binom, poisson  # half a second, which most commands and most logs do not need

    p_single_day = binom.sf(
        counts["brief"].to_numpy() - 1, counts["users"].to_numpy(), counts["expected_share"].to_numpy()
    )
    p_growth = poisson.sf(counts["users"].to_numpy() - 1, counts["expected_users"].to_numpy())
    is_suspicious = np.maximum(p_single_day, p_growth) < _SIGNIFICANCE / n_tests
    return counts.filter(pl.Series(is_suspicious)).select(columns)


def exclude_click_fraud(events: pl.DataFrame, fraud_weeks: pl.DataFrame) -> pl.DataFrame:
    """``events`` without those of single-day users on a product in a suspicious week or an adjacent one, in the same order.

    ``fraud_weeks`` are the result of ``detect_click_fraud``.
    """
    if fraud_weeks.is_empty():
        return events
    single_day_users = _single_day_users(events)
    # An attack starts and ends within a week, in which it may be too small to be detected.
    adjacent_weeks = [fraud_weeks.select("product_id", pl.col("week") + offset) for offset in (-1, 0, 1)]
    suspects = (
        events.select("timestamp", "user_id", "product_id")  # further columns may have any name
        .with_row_index("row")
        .with_columns(week=_week(), product_id=pl.col("product_id").cast(pl.String))
        .join(single_day_users, on="user_id", how="semi")
        .join(pl.concat(adjacent_weeks), on=["product_id", "week"], how="semi")
    )
    return events.filter(~pl.int_range(pl.len()).is_in(suspects["row"].implode()))


def write(folder: Path, fraud_weeks: pl.DataFrame) -> None:
    """Write the result of ``detect_click_fraud`` into a snapshot's folder, if there is any."""
    if len(fraud_weeks):
        fraud_weeks.write_parquet(folder / _FILE)


def read(folder: Path) -> pl.DataFrame:
    """What ``write`` wrote into a snapshot's folder; no rows if there is nothing."""
    file = folder / _FILE
    if not file.exists():
        return pl.DataFrame(schema=_SCHEMA)
    return pl.read_parquet(file)


def _single_day_users(events: pl.DataFrame) -> pl.DataFrame:
    """``user_id`` of users whose events all lie within a day."""
    times = events.group_by("user_id").agg(first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
    return times.filter(pl.col("last") - pl.col("first") <= _SINGLE_DAY).select("user_id")


def _may_contain_fraud(events: pl.DataFrame, single_day_users: pl.DataFrame) -> bool:
    """Whether any product has enough single-day users in the whole log; a quick test that most logs fail."""
    if len(single_day_users) < _MIN_SINGLE_DAY_USERS:
        return False
    their_events = events.drop_nulls("product_id").join(single_day_users, on="user_id", how="semi")
    counts = their_events.group_by("product_id").agg(pl.col("user_id").n_unique())
    return bool((counts["user_id"] >= _MIN_SINGLE_DAY_USERS).any())


def _user_product_weeks(events: pl.DataFrame, single_day_users: pl.DataFrame) -> pl.DataFrame:
    """Distinct ``user_id``, ``product_id`` and ``week``, with ``brief`` for single-day users."""
    product = pl.col("product_id").cast(pl.String)
    pairs = events.drop_nulls("product_id").select("user_id", product, week=_week()).unique()
    brief = single_day_users.with_columns(brief=pl.lit(value=True))
    return pairs.join(brief, on="user_id", how="left").with_columns(pl.col("brief").fill_null(value=False))


def _weekly_counts(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.group_by("product_id", "week").agg(
        users=pl.len().cast(pl.Int64), brief=pl.col("brief").sum().cast(pl.Int64)
    )


def _week() -> pl.Expr:
    return pl.col("timestamp").dt.epoch("s") // _WEEK_SECONDS
