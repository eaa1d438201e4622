"""From logged predictions to what is kept of a day: how the inputs lie, what was said, what turned out true."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health import Day, Moments, Ruler
from vetrina.features.encoding import BINS, Encoding, Words
from vetrina.metrics.moments import moments
from vetrina.monitor import rulers as measure

LABEL = "label"
Row = Mapping[str, Any]


def of_predictions(
    part: str,
    number: int,
    version: str | None,
    encoding: Encoding,
    bins: NDArray[np.integer],
    said: NDArray[np.floating],
    rulers: Mapping[str, Ruler],
    labelled: tuple[float, float, float, float] | None = None,
) -> Day:
    """``bins`` (rows, columns) as ``Encoding.bins`` gives them, ``said`` (rows,) probabilities or numbers. A row is its own
    unit."""
    unit = np.arange(len(bins))
    kept = dict(rulers)
    answer = "probability" if encoding.number is None else "prediction"
    kept.setdefault(answer, measure.for_numbers(said))
    found: dict[str, Moments] = {}
    for at, column in enumerate(encoding.columns if len(bins) else ()):
        code = bins[:, at].astype(int)
        there = code != -1
        found[f"{column.name} missing"] = moments(unit, measure.flags(~there))
        if not isinstance(column, Words):
            found[column.name] = moments(unit[there], measure.smooth((code[there] + 0.5) / BINS))
        elif column.values:
            named = measure.names(Ruler(groups=column.values), column.values, np.maximum(code[there], -1))
            found[column.name] = moments(unit[there], named)
    if len(bins):
        found[answer] = moments(unit, measure.numbers(kept[answer], said))
    return Day(part, number, version, len(bins), len(bins), 0, found, kept, labelled=labelled)


def read(answers: Sequence[Row]) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Bins (rows, columns) and probabilities, or numbers, (rows,) of logged answers, their requests decoded."""
    bins = [row for a in answers for row in a["request"]["bins"]]
    said = [i.get("probability", i.get("prediction")) for a in answers for i in a["items"]]
    return np.array(bins, np.int16).reshape(len(bins), -1), np.array(said, float)


def turned_out(
    labels: Iterable[Row], said: Mapping[str, Sequence[float]], error: float | None = None
) -> tuple[float, float, float, float] | None:
    """Rows, and their sums of p, of p (1 - p) and of the truth, of events of type label: ``request_id`` names the answer,
    ``position`` the row from 1 and ``value`` the truth, 1 or 0. With ``error``, what a number usually misses by (RMSE), sums of
    the numbers said, of its square and of the numbers that came true."""
    pairs = []
    for event in labels:
        row, known = int(event.get("position") or 1) - 1, said.get(event.get("request_id") or "", ())
        if 0 <= row < len(known) and event.get("value") is not None:
            pairs.append((known[row], float(event["value"] > 0 if error is None else event["value"])))
    if not pairs:
        return None
    p, y = np.array(pairs).T
    variance = float((p * (1.0 - p)).sum()) if error is None else len(p) * error**2
    return float(len(p)), float(p.sum()), variance, float(y.sum())
