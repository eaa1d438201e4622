"""Daily statistics of predictions: distribution of the inputs, of the predictions, and of labels that came in."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.exposures import Exposure
from vetrina.core.health_types import BinEdges, DailyStatistics, Moments
from vetrina.core.logged_events import LoggedEvent
from vetrina.evaluation.moments import moments
from vetrina.features.table_encoding import N_BINS, CategoricalColumn, ColumnEncoder, TableEncoding
from vetrina.monitor import bin_edges as measure

LABEL_EVENT = "label"  # type of an event that reports the outcome of a prediction
_MISSING_BIN = -1
LabelSums = tuple[float, float, float, float]  # rows, and their sums of prediction, of its variance and of the label


class _LoggedRequest(msgspec.Struct):
    """What the log holds of a request: the bins of the rows' columns."""

    bins: list[list[int]]


_REQUEST = msgspec.json.Decoder(_LoggedRequest)


def prediction_statistics(
    scope: str,
    day_number: int,
    version: str | None,
    encoding: TableEncoding,
    bins: NDArray[np.integer],
    predictions: NDArray[np.floating],
    bin_edges: Mapping[str, BinEdges],
    label_sums: LabelSums | None = None,
) -> DailyStatistics:
    """Statistics of the predictions of one version on a day; each row is a unit of its own.

    Args:
        scope: Scenario, or another name for what is no day.
        day_number: Days since 1970, UTC.
        version: Version that predicted.
        encoding: Encoding of the version's table.
        bins: (rows, columns) bins as ``TableEncoding.bins`` gives them.
        predictions: (rows,) probabilities, or numbers for a numeric label.
        bin_edges: Bin edges of the training data.
        label_sums: Result of ``label_sums``.
    """
    n_rows = len(bins)
    edges = dict(bin_edges)
    answer_feature = "prediction"
    if encoding.number is None:
        answer_feature = "probability"
    edges.setdefault(answer_feature, measure.fit_quantiles(predictions))
    features: dict[str, Moments] = {}
    if n_rows:
        unit = np.arange(n_rows)
        for number, column in enumerate(encoding.columns):
            code = bins[:, number].astype(int)
            is_present = code != _MISSING_BIN
            features[f"{column.name} missing"] = moments(unit, measure.flag_column(~is_present))
            encoded = _encode_bins(column, code[is_present])
            if encoded is not None:
                features[column.name] = moments(unit[is_present], encoded)
        features[answer_feature] = moments(unit, measure.encode_numbers(edges[answer_feature], predictions))
    return DailyStatistics(
        scope,
        day_number,
        version,
        count=n_rows,
        units=n_rows,
        clicked=0,
        features=features,
        rulers=edges,
        labelled=label_sums,
    )


def read_predictions(answers: Sequence[Exposure]) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Bins (rows, columns) and predictions (rows,) of logged answers with their items.

    A prediction is a probability, or a number for a numeric label.
    """
    bins: list[Sequence[int]] = []
    predictions: list[float | None] = []
    for answer in answers:
        bins += _REQUEST.decode(answer.request_json).bins
        predictions += [item.predicted for item in answer.items]
    return np.array(bins, np.int16).reshape(len(bins), -1), np.array(predictions, float)


def label_sums(
    labels: Iterable[LoggedEvent], predictions: Mapping[str, Sequence[float | None]], rmse: float | None = None
) -> LabelSums | None:
    """Number of labelled rows, and their sums of p, of p (1 - p) and of the label; None without labels.

    With ``rmse``: sums of the predicted numbers, of ``rmse`` squared and of the true numbers.

    Args:
        labels: Events of type ``label``: ``request_id`` names the answer, ``position`` the row from 1, ``value`` the outcome.
        predictions: Predictions of the rows of each answer, by request id.
        rmse: Root mean squared error of a numeric prediction; None for probabilities.
    """
    predicted: list[float | None] = []
    observed: list[float] = []
    for event in labels:
        row = int(event.position or 1) - 1
        answer = predictions.get(event.request_id or "", ())
        if event.value is None or not 0 <= row < len(answer):
            continue
        predicted.append(answer[row])
        if rmse is None:
            observed.append(float(event.value > 0))
        else:
            observed.append(event.value)
    if not predicted:
        return None
    p = np.array(predicted, float)
    y = np.array(observed, float)
    variance = float((p * (1.0 - p)).sum())
    if rmse is not None:
        variance = len(p) * rmse**2
    return float(len(p)), float(p.sum()), variance, float(y.sum())


def _encode_bins(column: ColumnEncoder, code: NDArray[np.integer]) -> NDArray[np.float64] | None:
    """(n, k) of the present bins (n,) of a column; None for a categorical column without values."""
    if not isinstance(column, CategoricalColumn):
        return measure.legendre_features((code + 0.5) / N_BINS)
    if not column.values:
        return None
    groups = BinEdges(groups=column.values)
    return measure.one_hot(groups, column.values, np.maximum(code, _MISSING_BIN))
