"""Judges predict by the log loss of each row, turned round so that more is better."""

from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.types import Evidence, Scores
from vetrina.features.encoding import Column, Text, Words
from vetrina.metrics.classification import log_loss
from vetrina.scenarios.predict.online import Predict
from vetrina.scenarios.predict.recipe import positive

_MISSING, _TERMS = 0.05, 12


def requests(folder: Path, most: int) -> list[list[Any]]:
    """Rows drawn column by column from what the encoding saw, some values missing."""
    rng = np.random.default_rng(42)
    columns = [_drawn(c, most, rng) for c in Predict(folder).encoding.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def answers(folder: Path, asked: list[list[Any]]) -> list[list[str]]:
    """The decision for each row."""
    return [[str(found["prediction"])] for found in Predict(folder).answer(asked)]


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
    """Minus the cross-entropy of every row."""
    opened = Predict(folder)
    if evidence.table is None:
        raise ValueError("predict is judged on a table")
    label = positive(evidence.table, opened.encoding.positive)
    values = -log_loss(label, opened.probability(evidence.table.columns, only))
    return Scores("negative log loss", tuple(str(i) for i in range(len(label))), values, {"positive rows": label > 0.5})
