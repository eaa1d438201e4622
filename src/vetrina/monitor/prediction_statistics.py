"""From logged predictions to what is kept of a day: how the inputs lie, what was said, what turned out true."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health_types import BinEdges, DailyStatistics, Moments
from vetrina.features.table_encoding import N_BINS, CategoricalColumn, TableEncoding
from vetrina.metrics.moments import moments
from vetrina.monitor import bin_edges as measure

LABEL_EVENT = "label"
Row = Mapping[str, Any]


def prediction_statistics(
    scope: str,
    day_number: int,
    version: str | None,
    encoding: TableEncoding,
    bins: NDArray[np.integer],
    predictions: NDArray[np.floating],
    bin_edges: Mapping[str, BinEdges],
    label_sums: tuple[float, float, float, float] | None = None,
) -> DailyStatistics:
    """``bins`` (rows, columns) as ``Encoding.bins`` gives them, ``said`` (rows,) probabilities or numbers. A row is its own
    unit."""
    unit = np.arange(len(bins))
    kept = dict(bin_edges)
    answer = "probability" if encoding.number is None else "prediction"
    kept.setdefault(answer, measure.fit_quantiles(predictions))
    found: dict[str, Moments] = {}
    for at, column in enumerate(encoding.columns if len(bins) else ()):
        code = bins[:, at].astype(int)
        there = code != -1
        found[f"{column.name} missing"] = moments(unit, measure.flag_column(~there))
        if not isinstance(column, CategoricalColumn):
            found[column.name] = moments(unit[there], measure.legendre_features((code[there] + 0.5) / N_BINS))
        elif column.values:
            named = measure.one_hot(BinEdges(groups=column.values), column.values, np.maximum(code[there], -1))
            found[column.name] = moments(unit[there], named)
    if len(bins):
        found[answer] = moments(unit, measure.encode_numbers(kept[answer], predictions))
    return DailyStatistics(scope, day_number, version, len(bins), len(bins), 0, found, kept, labelled=label_sums)


def read_predictions(answers: Sequence[Row]) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Bins (rows, columns) and probabilities, or numbers, (rows,) of logged answers, their requests decoded."""
    bins = [row for a in answers for row in a["request"]["bins"]]
    said = [i.get("probability", i.get("prediction")) for a in answers for i in a["items"]]
    return np.array(bins, np.int16).reshape(len(bins), -1), np.array(said, float)


def label_sums(
    labels: Iterable[Row], predictions: Mapping[str, Sequence[float]], rmse: float | None = None
) -> tuple[float, float, float, float] | None:
    """Rows, and their sums of p, of p (1 - p) and of the truth, of events of type label: ``request_id`` names the answer,
    ``position`` the row from 1 and ``value`` the truth, 1 or 0. With ``error``, what a number usually misses by (RMSE), sums of
    the numbers said, of its square and of the numbers that came true."""
    pairs = []
    for event in labels:
        row = int(event.get("position") or 1) - 1
        known = predictions.get(event.get("request_id") or "", ())
        if 0 <= row < len(known) and event.get("value") is not None:
            pairs.append((known[row], float(event["value"] > 0 if rmse is None else event["value"])))
    if not pairs:
        return None
    p, y = np.array(pairs).T
    variance = float((p * (1.0 - p)).sum()) if rmse is None else len(p) * rmse**2
    return float(len(p)), float(p.sum()), variance, float(y.sum())
