"""Evaluation of predict: negative log loss of each row, or negative squared error of a numeric label."""

from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.evaluation_data import EvaluationData, MetricValues
from vetrina.evaluation.classification import log_loss
from vetrina.evaluation.regression import squared_error
from vetrina.features.table_encoding import CategoricalColumn, ColumnEncoder, TextColumn
from vetrina.scenarios.predict.online import Predictor

_SAMPLE_SEED = 42
_MISSING_SHARE = 0.05  # of the values of a sample request
_TERMS_PER_TEXT = 12


def sample_requests(folder: Path, max_requests: int) -> list[list[Any]]:
    """Rows sampled column by column from the values that the encoding was fitted on, some of them missing."""
    rng = np.random.default_rng(_SAMPLE_SEED)
    columns = [_sample_column(column, max_requests, rng) for column in Predictor(folder).encoding.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def answer_requests(folder: Path, requests: list[list[Any]]) -> list[dict[str, float]]:
    """The decision for each row with its probability; a number is rounded to standard deviations of the label."""
    predictor = Predictor(folder)
    answers = predictor.answer(requests)
    scaler = predictor.encoding.number
    if scaler is None:
        return [{str(answer["prediction"]): answer["probability"]} for answer in answers]
    predictions = np.array([answer["prediction"] for answer in answers])
    deviations = np.rint(scaler.transform(predictions)).astype(int).tolist()
    return [{str(deviation): answer["prediction"]} for deviation, answer in zip(deviations, answers, strict=True)]


def _sample_column(column: ColumnEncoder, n_rows: int, rng: np.random.Generator) -> list[Any]:
    """(n_rows,) raw values of one column, some None."""
    is_missing = rng.random(n_rows) < _MISSING_SHARE
    values: list[Any]
    if isinstance(column, TextColumn):
        terms = np.array(column.words or ("",), dtype=object)
        values = [" ".join(rng.choice(terms, _TERMS_PER_TEXT).tolist()) for _ in range(n_rows)]
    elif isinstance(column, CategoricalColumn):
        values = rng.choice(np.array(column.values or ("",), dtype=object), n_rows).tolist()
    else:
        values = column.inverse_transform(rng.normal(size=n_rows)).tolist()
    return [None if missing else value for missing, value in zip(is_missing, values, strict=True)]


def evaluate(folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
    """Negative log loss of each row, or negative squared error in standard units of a numeric label.

    Args:
        folder: the bundle's folder.
        evaluation_data: its table is used.
        only_model: evaluate this model alone, without calibration.

    Raises:
        ValueError: there is no table.
    """
    predictor = Predictor(folder)
    table = evaluation_data.table
    if table is None:
        raise ValueError("predict is evaluated on a table")
    label = predictor.encoding.encode_labels(table.label)
    prediction = predictor.predict(table.columns, only_model)
    unit_ids = tuple(str(row) for row in range(len(label)))
    if predictor.encoding.number is not None:
        slices = {"above the mean": label > 0.0}
        return MetricValues("negative squared error", unit_ids, -squared_error(label, prediction), slices)
    slices = {"positive rows": label > 0.5}
    return MetricValues("negative log loss", unit_ids, -log_loss(label, prediction), slices)
