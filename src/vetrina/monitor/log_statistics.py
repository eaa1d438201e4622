"""Daily statistics of events and answers, from column arrays. Knows neither the log nor the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.health_types import SHOP_SCOPE, BinEdges, DailyStatistics, Moments, PositionCounts
from vetrina.evaluation.moments import moments
from vetrina.monitor import bin_edges as measure
from vetrina.monitor.log_columns import (
    N_POSITIONS,
    NO_VALUE,
    UNKNOWN_PRODUCT,
    AnswerColumns,
    EventColumns,
    ImpressionColumns,
)

TextEncoder = Callable[[list[str]], NDArray[np.floating]]  # texts to vectors (n, width)
_DAY_PARTS = ("night", "morning", "afternoon", "evening")
_SECONDS_PER_DAY = 86_400
_SECONDS_PER_DAY_PART = 21_600
_N_SCORE_BINS = 8
_MAX_TEXTS = 1_000  # embedded for one feature of a day
_N_DELAY_BINS = 24  # powers of two seconds


@dataclass
class _FeatureBuilder:
    """Encodes the features of a day with the bin edges of earlier days; edges of new features are fitted to this day."""

    bin_edges: dict[str, BinEdges]
    moments: dict[str, Moments] = field(default_factory=dict[str, Moments])

    def add_numbers(
        self, name: str, unit: NDArray[Any], values: NDArray[Any], *, edges_name: str = ""
    ) -> NDArray[np.float64]:
        """Add a numeric feature; returns the quantiles of its values, (n,) in 0..1, NaN where they are missing.

        Args:
            name: Name of the feature.
            unit: (n,) numbers of users.
            values: (n,) numbers, NaN where missing.
            edges_name: Name of the bin edges, where it is not that of the feature.
        """
        edges_name = edges_name or name
        is_finite = np.isfinite(values)
        bins = self.bin_edges.get(edges_name)
        if bins is None:
            bins = measure.fit_quantiles(values[is_finite])
        if not bins.edges:
            self.bin_edges.pop(edges_name, None)
            return np.full(len(values), np.nan)
        self.bin_edges[edges_name] = bins
        self.moments[name] = moments(unit[is_finite], measure.encode_numbers(bins, values[is_finite]))
        edges = np.array(bins.edges)
        quantiles = np.searchsorted(edges, np.nan_to_num(values), "right") / len(edges)
        return np.where(is_finite, quantiles, np.nan)

    def add_names(self, name: str, unit: NDArray[Any], vocabulary: Sequence[str], codes: NDArray[Any]) -> None:
        """Add a categorical feature: ``codes`` (n,) into ``vocabulary``, -1 for none."""
        if not len(codes):
            return
        counts = np.bincount(codes[codes >= 0], minlength=len(vocabulary))
        bins = self.bin_edges.setdefault(name, measure.fit_groups(vocabulary, counts))
        if len(bins.groups):
            self.moments[name] = moments(unit, measure.one_hot(bins, vocabulary, codes))

    def add_flags(self, name: str, unit: NDArray[Any], values: NDArray[Any]) -> None:
        """Add a feature of yes and no, (n,)."""
        if len(values):
            self.moments[name] = moments(unit, measure.flag_column(values))

    def add_texts(
        self, name: str, unit: NDArray[Any], texts: Sequence[str], codes: NDArray[Any], encode: TextEncoder
    ) -> None:
        """Add the embedding of some of the texts, chosen by hash so that recurring texts are chosen every day.

        Args:
            name: Name of the feature.
            unit: (n,) numbers of users.
            texts: Distinct texts.
            codes: (n,) indices of texts, -1 for none.
            encode: Text encoder.
        """
        used: list[int] = np.unique(codes[codes >= 0]).tolist()
        chosen = sorted(used, key=lambda code: _stable_hash(texts[code]))[:_MAX_TEXTS]
        if not chosen:
            return
        row_of_text = np.full(len(texts) + 1, -1, np.int64)  # the last entry is that of code -1
        row_of_text[chosen] = np.arange(len(chosen))
        rows = row_of_text[codes]
        is_chosen = rows >= 0
        vectors = measure.random_projection(encode([texts[code] for code in chosen]))
        self.moments[name] = moments(unit[is_chosen], vectors[rows[is_chosen]])


def event_statistics(
    day_number: int,
    events: EventColumns,
    catalogue: CatalogueIndex | None,
    encode: TextEncoder | None,
    bin_edges: Mapping[str, BinEdges],
) -> DailyStatistics:
    """Statistics of what users did on a day, independent of the scenario.

    Args:
        day_number: Days since 1970, UTC.
        events: Events of the day.
        catalogue: Catalogue that the events' products index; None leaves product features out.
        encode: Text encoder; None leaves text features out.
        bin_edges: Bin edges of earlier days.
    """
    unit = events.unit
    item = events.item
    features = _FeatureBuilder(dict(bin_edges))
    features.add_names("event type", unit, events.types, events.type)
    day_part = events.time % _SECONDS_PER_DAY // _SECONDS_PER_DAY_PART
    features.add_names("time of day", unit, _DAY_PARTS, day_part.astype(np.int32))
    has_product = item != NO_VALUE
    features.add_flags("unknown products", unit[has_product], item[has_product] == UNKNOWN_PRODUCT)
    features.add_numbers("price in events", unit, events.price)
    in_catalogue = item >= 0
    _add_product_features(features, "", unit[in_catalogue], item[in_catalogue], catalogue)
    _add_query_features(features, unit, events.queries, events.query, encode)
    if catalogue is not None and encode is not None and in_catalogue.any():
        used_items, codes = np.unique(item[in_catalogue], return_inverse=True)
        titles = [catalogue.title(int(used)) for used in used_items]
        features.add_texts("product meaning", unit[in_catalogue], titles, codes, encode)
    events_by_unit = np.empty(0)
    if len(unit):
        events_by_unit = np.bincount(unit)
    n_units = len(events_by_unit)
    features.add_numbers("events a shopper", np.arange(n_units), np.log1p(events_by_unit))
    return DailyStatistics(
        SHOP_SCOPE,
        day_number,
        version=None,
        count=len(unit),
        units=n_units,
        clicked=0,
        features=features.moments,
        rulers=features.bin_edges,
        unknown=events.n_unknown_products,
    )


def answer_statistics(
    scope: str,
    day_number: int,
    version: str | None,
    answers: AnswerColumns,
    catalogue: CatalogueIndex | None,
    encode: TextEncoder | None,
    bin_edges: Mapping[str, BinEdges],
    replay: tuple[int, float] | None = None,
) -> DailyStatistics:
    """Statistics of the answers of one version on a day, and of the clicks on them.

    Scores of different versions are compared by their quantiles among the scores of their own version.

    Args:
        scope: Scenario.
        day_number: Days since 1970, UTC.
        version: Version that gave the answers.
        answers: Answers of the day.
        catalogue: Catalogue that the impressions' products index; None leaves product features out.
        encode: Text encoder; None leaves text features out.
        bin_edges: Bin edges of earlier days.
        replay: Number of answers that were replayed, and their mean overlap.
    """
    unit = answers.unit
    impressions = answers.impressions
    features = _FeatureBuilder(dict(bin_edges))
    features.add_names("placement", unit, answers.placements, answers.placement)
    features.add_flags("known shoppers", unit, answers.is_identified)
    features.add_flags("empty answers", unit, answers.n_items == 0)
    _add_query_features(features, unit, answers.queries, answers.query, encode)
    impression_unit = unit[impressions.answer]
    score_quantile = features.add_numbers("score", impression_unit, impressions.score, edges_name=f"score@{version}")
    in_catalogue = impressions.item >= 0
    _add_product_features(features, "shown ", impression_unit[in_catalogue], impressions.item[in_catalogue], catalogue)
    delay_bin = np.clip(np.log2(answers.click_delays + 1.0), 0, _N_DELAY_BINS - 1).astype(int)
    delays = np.bincount(delay_bin, minlength=_N_DELAY_BINS)
    return DailyStatistics(
        scope,
        day_number,
        version,
        count=len(unit),
        units=len(np.unique(unit)),
        clicked=int(answers.clicked.sum()),
        features=features.moments,
        rulers=features.bin_edges,
        places=_position_counts(score_quantile, impressions),
        response=_clicks_by_position(impression_unit, impressions),
        delays=tuple(delays.tolist()),
        distinct=len(np.unique(impressions.item)),
        replayed=replay,
    )


def _add_product_features(
    features: _FeatureBuilder, prefix: str, unit: NDArray[Any], item: NDArray[Any], catalogue: CatalogueIndex | None
) -> None:
    if catalogue is None or not len(item):
        return
    for name in ("category", "brand"):
        vocabulary, codes = catalogue.field_codes(name)
        features.add_names(f"{prefix}{name}", unit, vocabulary, codes[item])
    features.add_numbers(f"{prefix}price", unit, catalogue.sort_key("price")[item])


def _add_query_features(
    features: _FeatureBuilder, unit: NDArray[Any], texts: Sequence[str], query: NDArray[Any], encode: TextEncoder | None
) -> None:
    has_query = query >= 0
    if not has_query.any():
        return
    n_words = np.array([len(text.split()) for text in texts], float)
    features.add_numbers("query length", unit[has_query], n_words[query[has_query]])
    if encode is not None:
        features.add_texts("query meaning", unit[has_query], texts, query[has_query], encode)


def _position_counts(score_quantile: NDArray[Any], impressions: ImpressionColumns) -> PositionCounts:
    """Impressions and clicks by score bin and position."""
    has_score = np.isfinite(score_quantile)
    score_bin = (score_quantile[has_score] * _N_SCORE_BINS).astype(int)
    score_bin = np.minimum(score_bin, _N_SCORE_BINS - 1)
    cell = score_bin * N_POSITIONS + impressions.position[has_score]
    n_cells = _N_SCORE_BINS * N_POSITIONS
    shown = np.bincount(cell, minlength=n_cells)
    clicked = np.bincount(cell, impressions.clicked[has_score], n_cells)
    return PositionCounts(N_POSITIONS, tuple(shown.tolist()), tuple(clicked.astype(int).tolist()))


def _clicks_by_position(unit: NDArray[Any], impressions: ImpressionColumns) -> Moments:
    """Moments over units of clicks by position, then impressions by position."""
    row = np.arange(len(unit))
    response = np.zeros((len(unit), 2 * N_POSITIONS))
    response[row, N_POSITIONS + impressions.position] = 1.0
    response[row, impressions.position] = impressions.clicked
    return moments(unit, response, sum_rows=True)


def _stable_hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
