"""From a day's columns to what is kept of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health_types import SHOP_SCOPE, BinEdges, DailyStatistics, Moments, PositionCounts
from vetrina.metrics.moments import moments
from vetrina.monitor import bin_edges as measure
from vetrina.monitor.log_columns import (
    N_POSITIONS,
    NO_VALUE,
    UNKNOWN_PRODUCT,
    AnswerColumns,
    EventColumns,
    ImpressionColumns,
)
from vetrina.retrieval.catalogue_index import CatalogueIndex

TextEncoder = Callable[[list[str]], NDArray[np.floating]]  # texts to vectors (n, width)
_DAY_PARTS = ("night", "morning", "afternoon", "evening")
_N_SCORE_BINS = 8
_MAX_TEXTS = 1_000
_N_DELAY_BINS = 24


@dataclass
class _FeatureBuilder:
    """Measures values with the rulers at hand; those missing are made from these values."""

    bin_edges: dict[str, BinEdges]
    moments: dict[str, Moments] = field(default_factory=dict)

    def add_numbers(
        self, name: str, unit: NDArray[Any], values: NDArray[Any], *, ruler: str = ""
    ) -> NDArray[np.float64]:
        """Keeps the feature and returns where the values lie, (n,) in 0..1 or NaN."""
        there = np.isfinite(values)
        found = self.bin_edges.setdefault(ruler or name, measure.fit_quantiles(values[there]))
        if not found.edges:
            del self.bin_edges[ruler or name]
            return np.full(len(values), np.nan)
        self.moments[name] = moments(unit[there], measure.encode_numbers(found, values[there]))
        edges = np.array(found.edges)
        return np.where(there, np.searchsorted(edges, np.nan_to_num(values), "right") / len(edges), np.nan)

    def add_names(self, name: str, unit: NDArray[Any], known: Sequence[str], codes: NDArray[Any]) -> None:
        if not len(codes):
            return
        counts = np.bincount(codes[codes >= 0], minlength=len(known))
        found = self.bin_edges.setdefault(name, measure.fit_groups(known, counts))
        if len(found.groups):
            self.moments[name] = moments(unit, measure.one_hot(found, known, codes))

    def add_flags(self, name: str, unit: NDArray[Any], values: NDArray[Any]) -> None:
        if len(values):
            self.moments[name] = moments(unit, measure.flag_column(values))

    def add_texts(
        self, name: str, unit: NDArray[Any], texts: Sequence[str], codes: NDArray[Any], encode: TextEncoder
    ) -> None:
        """The meaning of some of the texts, the same ones every day as far as they come again."""
        used: list[int] = np.unique(codes[codes >= 0]).tolist()
        chosen = sorted(used, key=lambda c: _stable_hash(texts[c]))[:_MAX_TEXTS]
        if not chosen:
            return
        row = np.full(len(texts) + 1, -1, np.int64)
        row[chosen] = np.arange(len(chosen))
        at = row[codes]
        vectors = measure.random_projection(encode([texts[c] for c in chosen]))
        self.moments[name] = moments(unit[at >= 0], vectors[at[at >= 0]])


def event_statistics(
    day_number: int,
    events: EventColumns,
    catalogue: CatalogueIndex | None,
    encode: TextEncoder | None,
    bin_edges: Mapping[str, BinEdges],
) -> DailyStatistics:
    """What shoppers did on a day, whatever they were shown."""
    unit = events.unit
    item = events.item
    features = _FeatureBuilder(dict(bin_edges))
    features.add_names("event type", unit, events.types, events.type)
    features.add_names("time of day", unit, _DAY_PARTS, (events.time % 86_400 // 21_600).astype(np.int32))
    features.add_flags("unknown products", unit[item != NO_VALUE], item[item != NO_VALUE] == UNKNOWN_PRODUCT)
    features.add_numbers("price in events", unit, events.price)
    known = item >= 0
    _add_product_features(features, "", unit[known], item[known], catalogue)
    _add_query_features(features, unit, events.queries, events.query, encode)
    if catalogue is not None and encode is not None and known.any():
        used, codes = np.unique(item[known], return_inverse=True)
        features.add_texts("product meaning", unit[known], [catalogue.title(int(i)) for i in used], codes, encode)
    each = np.bincount(unit) if len(unit) else np.empty(0)
    features.add_numbers("events a shopper", np.arange(len(each)), np.log1p(each))
    return DailyStatistics(
        SHOP_SCOPE,
        day_number,
        None,
        len(unit),
        len(each),
        0,
        features.moments,
        features.bin_edges,
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
    """What shoppers were shown by one version on a day, and what they followed.

    Scores of different versions are compared by their place among the scores of their own version.
    """
    unit = answers.unit
    shown = answers.impressions
    features = _FeatureBuilder(dict(bin_edges))
    features.add_names("placement", unit, answers.placements, answers.placement)
    features.add_flags("known shoppers", unit, answers.is_identified)
    features.add_flags("empty answers", unit, answers.n_items == 0)
    _add_query_features(features, unit, answers.queries, answers.query, encode)
    whose = unit[shown.answer]
    level = features.add_numbers("score", whose, shown.score, ruler=f"score@{version}")
    known = shown.item >= 0
    _add_product_features(features, "shown ", whose[known], shown.item[known], catalogue)
    delays = np.clip(np.log2(answers.click_delays + 1.0), 0, _N_DELAY_BINS - 1).astype(int)
    return DailyStatistics(
        scope,
        day_number,
        version,
        len(unit),
        len(np.unique(unit)),
        int(answers.clicked.sum()),
        features.moments,
        features.bin_edges,
        _position_counts(level, shown),
        _clicks_by_position(whose, shown),
        tuple(np.bincount(delays, minlength=_N_DELAY_BINS).tolist()),
        len(np.unique(shown.item)),
        replayed=replay,
    )


def _add_product_features(
    features: _FeatureBuilder, prefix: str, unit: NDArray[Any], item: NDArray[Any], shelf: CatalogueIndex | None
) -> None:
    if shelf is None or not len(item):
        return
    for name in ("category", "brand"):
        known, codes = shelf.field_codes(name)
        features.add_names(f"{prefix}{name}", unit, known, codes[item])
    features.add_numbers(f"{prefix}price", unit, shelf.sort_key("price")[item])


def _add_query_features(
    features: _FeatureBuilder, unit: NDArray[Any], texts: Sequence[str], query: NDArray[Any], encode: TextEncoder | None
) -> None:
    asked = query >= 0
    if asked.any():
        words = np.array([len(t.split()) for t in texts], float)
        features.add_numbers("query length", unit[asked], words[query[asked]])
        if encode is not None:
            features.add_texts("query meaning", unit[asked], texts, query[asked], encode)


def _position_counts(level: NDArray[Any], shown: ImpressionColumns) -> PositionCounts:
    there = np.isfinite(level)
    row = np.minimum((level[there] * _N_SCORE_BINS).astype(int), _N_SCORE_BINS - 1)
    cell = row * N_POSITIONS + shown.position[there]
    of = np.bincount(cell, minlength=_N_SCORE_BINS * N_POSITIONS)
    hit = np.bincount(cell, shown.clicked[there], _N_SCORE_BINS * N_POSITIONS)
    return PositionCounts(N_POSITIONS, tuple(of.tolist()), tuple(hit.astype(int).tolist()))


def _clicks_by_position(unit: NDArray[Any], shown: ImpressionColumns) -> Moments:
    """By unit: clicks at each place, then products shown there."""
    rows = np.zeros((len(unit), 2 * N_POSITIONS))
    rows[np.arange(len(unit)), N_POSITIONS + shown.position] = 1.0
    rows[np.arange(len(unit)), shown.position] = shown.clicked
    return moments(unit, rows, sum_rows=True)


def _stable_hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
