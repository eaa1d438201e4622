"""Judges predict by what each row loses, turned round so that more is better: log loss, or the squared error of a number."""

from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.types import Evidence, Scores
from vetrina.features.encoding import Column, Text, Words
from vetrina.metrics.classification import log_loss
from vetrina.metrics.regression import squared_error
from vetrina.scenarios.predict.online import Predict

_MISSING, _TERMS = 0.05, 12


def requests(folder: Path, most: int) -> list[list[Any]]:
    """Rows drawn column by column from what the encoding saw, some values missing."""
    rng = np.random.default_rng(42)
    columns = [_drawn(c, most, rng) for c in Predict(folder).encoding.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def answers(folder: Path, asked: list[list[Any]]) -> list[dict[str, float]]:
    """The decision for each row with its probability; a number to the nearest standard deviation of the label."""
    opened = Predict(folder)
    said, scale = opened.answer(asked), opened.encoding.number
    if scale is None:
        return [{str(row["prediction"]): row["probability"]} for row in said]
    steps = np.rint(scale.units(np.array([row["prediction"] for row in said]))).astype(int).tolist()
    return [{str(step): row["prediction"]} for step, row in zip(steps, said, strict=True)]


def _drawn(column: Column, rows: int, rng: np.random.Generator) -> list[Any]:
    missing = rng.random(rows) < _MISSING
    if isinstance(column, Text):
        terms = np.array(column.words or ("",), dtype=object)
        values: list[Any] = [" ".join(rng.choice(terms, _TERMS).tolist()) for _ in range(rows)]
    elif isinstance(column, Words):
        values = rng.choice(np.array(column.values or ("",), dtype=object), rows).tolist()
    else:
        values = column.meant(rng.normal(size=rows)).tolist()
    return [None if gone else value for gone, value in zip(missing, values, strict=True)]


def evaluate(folder: Path, evidence: Evidence, *, only: str | None = None) -> Scores:
    """Minus the cross-entropy of every row, or minus its squared error in standard units of the label."""
    opened = Predict(folder)
    if evidence.table is None:
        raise ValueError("predict is judged on a table")
    label, said = opened.encoding.truth(evidence.table.label), opened.expected(evidence.table.columns, only)
    units = tuple(str(i) for i in range(len(label)))
    if opened.encoding.number is not None:
        return Scores("negative squared error", units, -squared_error(label, said), {"above the mean": label > 0.0})
    return Scores("negative log loss", units, -log_loss(label, said), {"positive rows": label > 0.5})
