"""What shoppers did after a query, as grades: how much they wanted a product, not where it stood.

worth of (query, product) = sum of what was done with it / (sum over its impressions of how likely their place is looked at +
PRIOR). How likely comes from ``metrics.position_bias``. Where a log holds no impressions, each deed counts 1 / looked of its
place instead (inverse propensity weighting; Joachims, Swaminathan and Schnabel 2017). The best of a query has grade HIGHEST,
the others in proportion.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vetrina.metrics import position_bias

EVENT_GRADES = {"click": 1.0, "cart": 2.0, "purchase": 3.0}
MAX_GRADE = 3.0
SMOOTHING_IMPRESSIONS = 5.0
_MAX_POSITIONS = 20
_MAX_PAIRS = 200_000
_PAIR_COLUMNS = ("query", "product_id")


def grades_from_clicks(events: pl.DataFrame) -> pl.DataFrame | None:
    """``query``, ``product_id`` and ``grade`` of every pair with a deed; None where nobody did anything after a query."""
    named = events.filter(pl.col("query").is_not_null() & pl.col("product_id").is_not_null()).select(
        pl.col("query").str.to_lowercase().str.strip_chars(),
        pl.col("product_id").cast(pl.String),
        pl.col("type").cast(pl.String),
        (pl.col("position") if "position" in events.columns else pl.lit(None)).cast(pl.Int64).alias("position"),
    )
    named = named.filter(pl.col("query") != "").with_columns(
        (pl.col("position") - pl.col("position").min()).clip(0, _MAX_POSITIONS - 1).alias("place")
    )
    done = named.filter(pl.col("type").is_in(list(EVENT_GRADES)))
    if not len(done):
        return None
    worth = done.with_columns(pl.col("type").replace_strict(EVENT_GRADES, return_dtype=pl.Float64).alias("worth"))
    shown = named.filter((pl.col("type") == "impression") & pl.col("place").is_not_null())
    found = _examination_corrected_rates(worth, shown, done) if len(shown) else _inverse_propensity_weighted(worth)
    best = pl.col("worth").max().over("query")
    return found.select(*_PAIR_COLUMNS, (MAX_GRADE * pl.col("worth") / best).alias("grade")).sort(*_PAIR_COLUMNS)


def _inverse_propensity_weighted(graded_events: pl.DataFrame) -> pl.DataFrame:
    """Deeds by the place where they were done, under the logarithmic discount; without a place as at the first."""
    looked = 1.0 / (pl.col("place").fill_null(0) + 2.0).log(2.0)
    return graded_events.group_by(_PAIR_COLUMNS).agg((pl.col("worth") / looked).sum())


def _examination_corrected_rates(
    graded_events: pl.DataFrame, impressions: pl.DataFrame, interactions: pl.DataFrame
) -> pl.DataFrame:
    looked = pl.DataFrame(
        {"place": np.arange(_MAX_POSITIONS), "looked": _examination_probabilities(impressions, interactions)}
    )
    seen = impressions.join(looked, on="place").group_by(_PAIR_COLUMNS).agg(pl.col("looked").sum())
    summed = graded_events.group_by(_PAIR_COLUMNS).agg(pl.col("worth").sum()).join(seen, on=_PAIR_COLUMNS, how="left")
    return summed.with_columns(pl.col("worth") / (pl.col("looked").fill_null(0.0) + SMOOTHING_IMPRESSIONS))


def _examination_probabilities(impressions: pl.DataFrame, interactions: pl.DataFrame) -> NDArray[np.float64]:
    """(places,) how likely a place is looked at, from the pairs that were shown most."""
    pairs = (
        impressions.group_by(_PAIR_COLUMNS)
        .len()
        .sort("len", *_PAIR_COLUMNS, descending=[True, False, False])
        .head(_MAX_PAIRS)
    )
    pairs = pairs.select(_PAIR_COLUMNS).with_row_index("row")
    clicks = interactions.filter((pl.col("type") == "click") & pl.col("place").is_not_null())
    shown_at, clicked_at = (_count_matrix(pairs, part) for part in (impressions, clicks))
    return position_bias.estimate_position_bias(shown_at, np.minimum(clicked_at, shown_at)).examination


def _count_matrix(pairs: pl.DataFrame, events: pl.DataFrame) -> NDArray[np.float64]:
    """(pairs, places) counts."""
    counts = events.join(pairs, on=_PAIR_COLUMNS).group_by("row", "place").len()
    found = np.zeros((len(pairs), _MAX_POSITIONS))
    found[counts["row"].to_numpy(), counts["place"].to_numpy()] = counts["len"].to_numpy()
    return found
