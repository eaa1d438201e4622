"""Labelled tables, raw and encoded, and the scaler of a numeric label.

Nothing here knows how values are encoded; see ``features.table_encoding``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats, Ints


@dataclass(frozen=True)
class LabelledTable:
    """A labelled table as the shop gave it.

    Attributes:
        columns: (n,) raw values by column name: float64 with NaN, or object strings with None.
        label: (n,) labels.
    """

    columns: Mapping[str, NDArray[Any]]
    label: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.intp]) -> "LabelledTable":
        """The selected rows, in the order of ``rows``."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return LabelledTable(columns, self.label[rows])

    def append(self, other: "LabelledTable") -> "LabelledTable":
        """These rows, and behind them those of a table with the same columns."""
        columns = {name: np.concatenate([values, other.columns[name]]) for name, values in self.columns.items()}
        return LabelledTable(columns, np.concatenate([self.label, other.label]))


@dataclass(frozen=True)
class OutOfFoldPredictions:
    """Predictions for rows by models that were trained without them.

    Attributes:
        table: The rows (n,).
        predictions: (n,) predictions by model: probabilities, or labels in the table's own unit.
    """

    table: LabelledTable
    predictions: Mapping[str, Floats]


@dataclass(frozen=True)
class LabelScaler:
    """Standardisation of a numeric label: models are trained on (label - ``mean``) / ``sd``.

    Attributes:
        mean: Mean of the training labels.
        sd: Standard deviation of the training labels.
        low: Smallest training label.
        high: Largest training label.
    """

    mean: float
    sd: float
    low: float
    high: float

    def transform(self, label: NDArray[np.floating]) -> Floats:
        """Standardised labels, of the shape of ``label``."""
        return ((label - self.mean) / self.sd).astype(np.float32)

    def inverse_transform(self, scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """Labels of standardised values, clipped to the range of the training labels."""
        labels = self.mean + scaled.astype(np.float64) * self.sd
        return np.clip(labels, self.low, self.high)


_NO_CATEGORY_IDS = np.empty((0, 0), np.int32)


@dataclass(frozen=True)
class EncodedTable:
    """A labelled table encoded as numbers.

    Attributes:
        dense: (n, columns) numeric features.
        category_ids: (n, k) ids of frequent categorical values; 0 stands for all other values.
        category_sizes: (k,) number of ids of each categorical column.
        label: (n,) 0 or 1, or standardised by ``label_scaler``; empty for rows to predict.
        secondary_label: (n,) what followed a positive label, such as a purchase after a click; None if unknown.
        raw_columns: (n,) raw values by column name, for models with an encoding of their own.
        label_scaler: Scaler of a numeric label; None for a binary label.
        candidate_levels: (n, levels) category level codes of each row's candidate item; -1 for an unknown category. None if
            rows are not about items.
        history_levels: (n, events, levels) category level codes of the user's latest events, newest first; -1 for an
            unknown category, -2 for padding.
    """

    dense: Floats
    category_ids: Ints = field(default_factory=lambda: _NO_CATEGORY_IDS)
    category_sizes: tuple[int, ...] = ()
    label: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    secondary_label: Floats | None = None
    raw_columns: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    label_scaler: LabelScaler | None = None
    candidate_levels: Ints | None = None
    history_levels: Ints | None = None

    def __post_init__(self) -> None:
        if not self.category_ids.size:
            # A table without categorical columns still has one (empty) row of ids per row of the table.
            object.__setattr__(self, "category_ids", np.zeros((len(self.dense), 0), np.int32))

    def __len__(self) -> int:
        return len(self.dense)
