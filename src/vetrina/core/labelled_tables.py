"""Labelled tables: as they came, and as models learn from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class LabelledTable:
    """A labelled table. ``columns`` maps a name to raw values (float64 with NaN, or object strings with None)."""

    columns: Mapping[str, NDArray[Any]]
    label: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.intp]) -> "LabelledTable":
        """The named rows, in that order."""
        return LabelledTable({k: v[rows] for k, v in self.columns.items()}, self.label[rows])


@dataclass(frozen=True)
class LabelScaler:
    """Where a label that is a number lies: models learn and say (label - mean) / sd. ``low`` to ``high`` was seen."""

    mean: float
    sd: float
    low: float
    high: float

    def transform(self, label: NDArray[np.floating]) -> Floats:
        """Labels in standard units, of the shape of ``label``."""
        return ((label - self.mean) / self.sd).astype(np.float32)

    def inverse_transform(self, scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """The other way, never outside of what was seen."""
        return np.clip(self.mean + scaled.astype(np.float64) * self.sd, self.low, self.high)


_NO_CATEGORY_IDS = np.empty((0, 0), np.int32)


@dataclass(frozen=True)
class EncodedTable:
    """An encoded table: ``dense`` (n, columns) numbers, ``ids`` (n, k) numbers of frequent values, 0 for all others, of which
    there are ``sizes`` (k,). ``label`` (n,) is 0 or 1, or in standard units of ``number``, empty where it is asked for;
    ``second`` (n,) what followed a yes, if anything is known of it; ``raw`` are the columns as they came, for models that
    encode for themselves. Where rows are about offers, ``asked`` (n, levels) are the kinds of what is offered and ``before``
    (n, events, levels) those of what was done last, the newest first; -1 is an unknown kind, -2 an event that is not there.
    """

    dense: Floats
    category_ids: Ints = field(default_factory=lambda: _NO_CATEGORY_IDS)
    category_sizes: tuple[int, ...] = ()
    label: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    secondary_label: Floats | None = None
    raw_columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    label_scaler: LabelScaler | None = None
    candidate_levels: Ints | None = None
    history_levels: Ints | None = None

    def __post_init__(self) -> None:
        if not self.category_ids.size:  # a table without such values still has a row for each
            object.__setattr__(self, "category_ids", np.zeros((len(self.dense), 0), np.int32))

    def __len__(self) -> int:
        return len(self.dense)
