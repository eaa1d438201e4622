"""Click model: relevance grades of query-product pairs from clicks, corrected for position bias.

rate(query, product) = sum of event grades / (sum over impressions of the examination probability of their position +
SMOOTHING_IMPRESSIONS). Examination probabilities come from ``data.position_bias``. In a log without impressions each event
counts 1 / examination of its position instead (inverse propensity weighting; Joachims, Swaminathan and Schnabel 2017,
"Unbiased learning-to-rank with biased feedback"). The best product of a query has the grade MAX_GRADE, the others in proportion.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vetrina.data import position_bias

EVENT_GRADES = {"click": 1.0, "cart": 2.0, "purchase": 3.0}
MAX_GRADE = 3.0
# Impressions without an event that are added to each pair.
SMOOTHING_IMPRESSIONS = 5.0
# Later positions count as the last one.
_MAX_POSITIONS = 20
# Pairs with the most impressions, from which position bias is estimated.
_MAX_PAIRS = 200_000
_PAIR_COLUMNS = ("query", "product_id")


def grades_from_clicks(events: pl.DataFrame) -> pl.DataFrame | None:
    """``query``, ``product_id`` and ``grade`` of every pair with a click, cart or purchase event; None without any.

    ``events`` have the columns ``query``, ``product_id``, ``type`` and, if known, ``position``.
    """
    search_events = _search_events(events)
    is_interaction = pl.col("type").is_in(list(EVENT_GRADES))
    interactions = search_events.filter(is_interaction)
    if interactions.is_empty():
        return None
    grade = pl.col("type").replace_strict(EVENT_GRADES, return_dtype=pl.Float64)
    graded_events = interactions.with_columns(grade.alias("rate"))
    impressions = search_events.filter((pl.col("type") == "impression") & pl.col("place").is_not_null())
    if impressions.is_empty():
        rates = _inverse_propensity_weighted(graded_events)
    else:
        rates = _examination_corrected_rates(graded_events, impressions, interactions)
    best_rate = pl.col("rate").max().over("query")
    grades = MAX_GRADE * pl.col("rate") / best_rate
    return rates.select(*_PAIR_COLUMNS, grades.alias("grade")).sort(*_PAIR_COLUMNS)


def _search_events(events: pl.DataFrame) -> pl.DataFrame:
    """Events on a product after a query, with normalised query and ``place``, the position from 0."""
    position = pl.col("position") if "position" in events.columns else pl.lit(None)
    search_events = events.filter(pl.col("query").is_not_null() & pl.col("product_id").is_not_null()).select(
        pl.col("query").str.to_lowercase().str.strip_chars(),
        pl.col("product_id").cast(pl.String),
        pl.col("type").cast(pl.String),
        position.cast(pl.Int64).alias("position"),
    )
    place = (pl.col("position") - pl.col("position").min()).clip(0, _MAX_POSITIONS - 1)
    return search_events.filter(pl.col("query") != "").with_columns(place.alias("place"))


def _inverse_propensity_weighted(graded_events: pl.DataFrame) -> pl.DataFrame:
    """Rate of each pair with examination 1 / log2(2 + position from 0); an event without position counts as at the first."""
    examination = 1.0 / (pl.col("place").fill_null(0) + 2.0).log(2.0)
    return graded_events.group_by(_PAIR_COLUMNS).agg((pl.col("rate") / examination).sum())


def _examination_corrected_rates(
    graded_events: pl.DataFrame, impressions: pl.DataFrame, interactions: pl.DataFrame
) -> pl.DataFrame:
    """Rate of each pair: event grades over examined impressions, smoothed."""
    probabilities = _examination_probabilities(impressions, interactions)
    examination = pl.DataFrame({"place": np.arange(_MAX_POSITIONS), "examined": probabilities})
    examined = impressions.join(examination, on="place").group_by(_PAIR_COLUMNS).agg(pl.col("examined").sum())
    grades = graded_events.group_by(_PAIR_COLUMNS).agg(pl.col("rate").sum())
    smoothed = pl.col("examined").fill_null(0.0) + SMOOTHING_IMPRESSIONS
    return grades.join(examined, on=_PAIR_COLUMNS, how="left").with_columns(pl.col("rate") / smoothed)


def _examination_probabilities(impressions: pl.DataFrame, interactions: pl.DataFrame) -> NDArray[np.float64]:
    """(positions,) probability that a position is examined, from the pairs with the most impressions."""
    pairs = (
        impressions.group_by(_PAIR_COLUMNS)
        .len()
        .sort("len", *_PAIR_COLUMNS, descending=[True, False, False])
        .head(_MAX_PAIRS)
        .select(_PAIR_COLUMNS)
        .with_row_index("row")
    )
    clicks = interactions.filter((pl.col("type") == "click") & pl.col("place").is_not_null())
    impression_counts = _count_matrix(pairs, impressions)
    click_counts = np.minimum(_count_matrix(pairs, clicks), impression_counts)
    return position_bias.estimate_position_bias(impression_counts, click_counts).examination


def _count_matrix(pairs: pl.DataFrame, events: pl.DataFrame) -> NDArray[np.float64]:
    """(pairs, positions) number of events."""
    counts = events.join(pairs, on=_PAIR_COLUMNS).group_by("row", "place").len()
    matrix = np.zeros((len(pairs), _MAX_POSITIONS))
    matrix[counts["row"].to_numpy(), counts["place"].to_numpy()] = counts["len"].to_numpy()
    return matrix
