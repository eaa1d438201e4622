"""Judges predict by what each row loses, turned round so that more is better: log loss, or the squared error of a number."""

from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.types import EvaluationData, MetricValues
from vetrina.features.table_encoding import CategoricalColumn, ColumnEncoder, TextColumn
from vetrina.metrics.classification import log_loss
from vetrina.metrics.regression import squared_error
from vetrina.scenarios.predict.online import Predictor

_MISSING_SHARE = 0.05
_TERMS_PER_TEXT = 12


def sample_requests(folder: Path, max_requests: int) -> list[list[Any]]:
    """Rows drawn column by column from what the encoding saw, some values missing."""
    rng = np.random.default_rng(42)
    columns = [_sample_column(c, max_requests, rng) for c in Predictor(folder).encoding.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def answer_requests(folder: Path, requests: list[list[Any]]) -> list[dict[str, float]]:
    """The decision for each row with its probability; a number to the nearest standard deviation of the label."""
    opened = Predictor(folder)
    said = opened.answer(requests)
    scale = opened.encoding.number
    if scale is None:
        return [{str(row["prediction"]): row["probability"]} for row in said]
    steps = np.rint(scale.transform(np.array([row["prediction"] for row in said]))).astype(int).tolist()
    return [{str(step): row["prediction"]} for step, row in zip(steps, said, strict=True)]


def _sample_column(column: ColumnEncoder, rows: int, rng: np.random.Generator) -> list[Any]:
    missing = rng.random(rows) < _MISSING_SHARE
    if isinstance(column, TextColumn):
        terms = np.array(column.words or ("",), dtype=object)
        values: list[Any] = [" ".join(rng.choice(terms, _TERMS_PER_TEXT).tolist()) for _ in range(rows)]
    elif isinstance(column, CategoricalColumn):
        values = rng.choice(np.array(column.values or ("",), dtype=object), rows).tolist()
    else:
        values = column.inverse_transform(rng.normal(size=rows)).tolist()
    return [None if gone else value for gone, value in zip(missing, values, strict=True)]


def evaluate(folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
    """Minus the cross-entropy of every row, or minus its squared error in standard units of the label."""
    opened = Predictor(folder)
    if evaluation_data.table is None:
        raise ValueError("predict is judged on a table")
    label = opened.encoding.encode_labels(evaluation_data.table.label)
    said = opened.predict(evaluation_data.table.columns, only_model)
    units = tuple(str(i) for i in range(len(label)))
    if opened.encoding.number is not None:
        return MetricValues(
            "negative squared error", units, -squared_error(label, said), {"above the mean": label > 0.0}
        )
    return MetricValues("negative log loss", units, -log_loss(label, said), {"positive rows": label > 0.5})
