"""Calibration by the values of one field, such as a publisher or a device: probabilities that are right on the whole are often
wrong for some of them (Pan et al. 2020, "Field-aware calibration").

Each value v gets a shift s_v of the log-odds, the maximum of sum over its rows of ln P(y | log-odds + s_v) - s_v^2 / (2 T^2): a
value of few rows is hardly moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.bootstrap import paired_difference
from vetrina.metrics.classification import log_loss

Floats = NDArray[np.floating]
_PRIOR_STD = 0.5
_NEWTON_STEPS = 8
_MIN_ROWS = 200
_N_FOLDS = 2
_CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True)
class FieldCalibration:
    """``shifts`` of the log-odds by value of the column ``name``; values without one, and all where there is no name, stay."""

    name: str = ""
    values: tuple[str, ...] = ()
    shifts: tuple[float, ...] = ()

    def transform(self, probability: Floats, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Calibrated probabilities (n,) of rows with these raw ``columns`` (n,)."""
        if not self.name:
            return np.asarray(probability, np.float32)
        place = dict(zip(self.values, self.shifts, strict=True))
        shift = np.array([place.get(str(v), 0.0) for v in columns[self.name]])
        return _sigmoid(_log_odds(probability) + shift).astype(np.float32)


def choose_field_calibration(
    probability: Floats, label: Floats, columns: Mapping[str, NDArray[Any]], seed: int = 42
) -> FieldCalibration:
    """The column whose shifts lose least where halves of the rows learn them for each other, if that is shown; else none.

    Many columns are tried, so each is asked for a level of 1 - (1 - 95 %) / columns.
    """
    if len(label) < _MIN_ROWS or not columns:
        return FieldCalibration()
    part = np.random.default_rng(seed).permutation(len(label)) % _N_FOLDS
    usual = log_loss(label, probability)
    lost = {name: log_loss(label, _cross_fitted(probability, label, name, raw, part)) for name, raw in columns.items()}
    best = min(lost, key=lambda name: float(lost[name].mean()))
    level = 1.0 - (1.0 - _CONFIDENCE_LEVEL) / len(columns)
    if paired_difference(usual, lost[best], level).low <= 0:
        return FieldCalibration()
    return fit_shifts(probability, label, best, columns[best])


def fit_shifts(probability: Floats, label: Floats, name: str, field_values: NDArray[Any]) -> FieldCalibration:
    """Shifts by Newton's method, all values at once."""
    values, at = np.unique(np.array([str(v) for v in field_values]), return_inverse=True)
    odds = _log_odds(probability)
    shift = np.zeros(len(values))
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(odds + shift[at])
        slope = np.bincount(at, label - p, len(values)) - shift / _PRIOR_STD**2
        shift = shift + slope / (np.bincount(at, p * (1.0 - p), len(values)) + 1.0 / _PRIOR_STD**2)
    return FieldCalibration(name, tuple(values.tolist()), tuple(np.round(shift, 6).tolist()))


def from_options(options: Mapping[str, Any] | None) -> FieldCalibration:
    """As a bundle's options hold it."""
    if not options:
        return FieldCalibration()
    values: Sequence[str] = options["values"]
    return FieldCalibration(options["name"], tuple(values), tuple(options["shifts"]))


def _cross_fitted(
    said: Floats, label: Floats, name: str, raw: NDArray[Any], part: NDArray[np.intp]
) -> NDArray[np.float32]:
    found = np.empty(len(label), np.float32)
    for fold in range(_N_FOLDS):
        rest = part != fold
        own = part == fold
        found[own] = fit_shifts(said[rest], label[rest], name, raw[rest]).transform(said[own], {name: raw[own]})
    return found


def _log_odds(p: Floats) -> NDArray[np.float64]:
    kept = np.clip(np.asarray(p, np.float64), 1e-6, 1.0 - 1e-6)
    return np.log(kept / (1.0 - kept))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-x))
