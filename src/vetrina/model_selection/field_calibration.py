"""Calibration of probabilities by the values of one categorical field (Pan et al. 2020, "Field-aware calibration").

Probabilities that are right on the whole are often wrong for single values of a field, such as a publisher or a device.
Each value v gets a shift s_v of the log-odds, the maximum of the sum over its rows of ln P(y | log-odds + s_v) minus
s_v^2 / (2 T^2): the shift of a value with few rows stays near 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.classification import log_loss

Floats = NDArray[np.floating]
_PRIOR_STD = 0.5  # T of the formula, in log-odds
_NEWTON_STEPS = 8
_MIN_ROWS = 200
_N_FOLDS = 2
_CONFIDENCE_LEVEL = 0.95
_MIN_PROBABILITY = 1e-6  # and 1 minus the largest


@dataclass(frozen=True)
class FieldCalibration:
    """Shifts of the log-odds by value of the column ``name``; 0 for other values, the identity without a name."""

    name: str = ""
    values: tuple[str, ...] = ()
    shifts: tuple[float, ...] = ()

    def transform(self, probability: Floats, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return calibrated probabilities (n,) of rows with these raw ``columns`` (n,)."""
        if not self.name:
            return np.asarray(probability, np.float32)
        shift_of_value = dict(zip(self.values, self.shifts, strict=True))
        shift = np.array([shift_of_value.get(str(value), 0.0) for value in columns[self.name]])
        return _sigmoid(_log_odds(probability) + shift).astype(np.float32)


def choose_field_calibration(
    probability: Floats,
    label: Floats,
    columns: Mapping[str, NDArray[Any]],
    seed: int = 42,
) -> FieldCalibration:
    """Return the shifts of the column with the lowest cross-fitted log loss if they gain significantly, else none.

    As many columns are tried, the significance level is corrected (Bonferroni): 1 - (1 - 95 %) / columns.

    Args:
        probability: (n,) predicted probabilities.
        label: (n,) 1 for positive rows, 0 for the others.
        columns: Raw values (n,) of each categorical column.
        seed: Seed of the split into two halves, each of which is calibrated by the other.
    """
    if len(label) < _MIN_ROWS or not columns:
        return FieldCalibration()
    fold_of_row = np.random.default_rng(seed).permutation(len(label)) % _N_FOLDS
    loss_before = log_loss(label, probability)
    row_losses: dict[str, NDArray[np.float64]] = {}
    for name, field_values in columns.items():
        calibrated = _cross_fitted(probability, label, name, field_values, fold_of_row)
        row_losses[name] = log_loss(label, calibrated)
    best = min(row_losses, key=lambda name: float(row_losses[name].mean()))
    level = 1.0 - (1.0 - _CONFIDENCE_LEVEL) / len(columns)
    if paired_difference(loss_before, row_losses[best], level).low <= 0:
        return FieldCalibration()
    return fit_shifts(probability, label, best, columns[best])


def fit_shifts(probability: Floats, label: Floats, name: str, field_values: NDArray[Any]) -> FieldCalibration:
    """Return the shifts of all values of one column, by Newton's method.

    Args:
        probability: (n,) predicted probabilities.
        label: (n,) 1 for positive rows, 0 for the others.
        name: Name of the column.
        field_values: (n,) raw values of the column.
    """
    names = np.array([str(value) for value in field_values])
    values, value_of_row = np.unique(names, return_inverse=True)
    log_odds = _log_odds(probability)
    prior_precision = 1.0 / _PRIOR_STD**2
    shift = np.zeros(len(values))
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(log_odds + shift[value_of_row])
        gradient = np.bincount(value_of_row, label - p, len(values)) - shift / _PRIOR_STD**2
        curvature = np.bincount(value_of_row, p * (1.0 - p), len(values)) + prior_precision
        shift = shift + gradient / curvature
    return FieldCalibration(name, tuple(values.tolist()), tuple(np.round(shift, 6).tolist()))


def from_options(options: Mapping[str, Any] | None) -> FieldCalibration:
    """Return the calibration that a bundle's options hold, the identity without options."""
    if not options:
        return FieldCalibration()
    values: Sequence[str] = options["values"]
    return FieldCalibration(options["name"], tuple(values), tuple(options["shifts"]))


def _cross_fitted(
    probability: Floats,
    label: Floats,
    name: str,
    field_values: NDArray[Any],
    fold_of_row: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Calibrated probabilities (n,) of each fold, by shifts that were fitted on the other one."""
    calibrated = np.empty(len(label), np.float32)
    for fold in range(_N_FOLDS):
        inside = fold_of_row == fold
        outside = ~inside
        calibration = fit_shifts(probability[outside], label[outside], name, field_values[outside])
        calibrated[inside] = calibration.transform(probability[inside], {name: field_values[inside]})
    return calibrated


def _log_odds(probability: Floats) -> NDArray[np.float64]:
    p = np.clip(np.asarray(probability, np.float64), _MIN_PROBABILITY, 1.0 - _MIN_PROBABILITY)
    return np.log(p / (1.0 - p))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-x))
