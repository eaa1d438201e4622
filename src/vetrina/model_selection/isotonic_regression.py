"""Isotonic regression of labels on predicted probabilities. Training side only."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# SciPy has no types.

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.classification import log_loss
from vetrina.model_selection.calibration import Calibration

_MIN_ROWS = 200
_N_FOLDS = 2
_EQUAL_SHARES = 1e-12  # shares of rows that differ by less are equal but for rounding


def fit_isotonic(probability: NDArray[np.floating], label: NDArray[np.floating]) -> Calibration:
    """Return the least-squares non-decreasing function of ``probability`` (n,), one point a step at the step's mean.

    Barlow et al. 1972.
    """
    order = np.argsort(probability, kind="stable")
    fitted: NDArray[np.float64] = optimize.isotonic_regression(label[order]).x
    starts = np.flatnonzero(np.diff(fitted, prepend=-1.0) > _EQUAL_SHARES)
    n_rows = np.diff(starts, append=len(order))
    x = np.add.reduceat(np.asarray(probability[order], np.float64), starts) / n_rows
    y = np.add.reduceat(np.asarray(label[order], np.float64), starts) / n_rows
    return Calibration(tuple(x.tolist()), tuple(y.tolist()))


def choose_calibration(
    probability: NDArray[np.floating],
    label: NDArray[np.floating],
    seed: int = 42,
    *,
    significant_only: bool = False,
) -> Calibration:
    """Return an isotonic calibration if it lowers the cross-fitted log loss, else the identity.

    Args:
        probability: (n,) predicted probabilities.
        label: (n,) 1 for positive rows, 0 for the others.
        seed: Seed of the split into two halves, each of which is calibrated by the other.
        significant_only: Require that the lower 95 % bound of the gain is above 0, not only its mean.
    """
    if len(label) < _MIN_ROWS or label.min() == label.max():
        return Calibration()
    fold_of_row = np.random.default_rng(seed).permutation(len(label)) % _N_FOLDS
    cross_fitted = np.empty(len(label), np.float32)
    for fold in range(_N_FOLDS):
        inside = fold_of_row == fold
        calibration = _smoothed_isotonic(probability[~inside], label[~inside])
        cross_fitted[inside] = calibration.transform(probability[inside])
    loss_before = log_loss(label, probability)
    loss_after = log_loss(label, cross_fitted)
    gain = float((loss_before - loss_after).mean())
    if significant_only:
        gain = paired_difference(loss_before, loss_after).low
    if gain > 0:
        return _smoothed_isotonic(probability, label)
    return Calibration()


def _smoothed_isotonic(probability: NDArray[np.floating], label: NDArray[np.floating]) -> Calibration:
    """Isotonic steps that never reach 0 or 1: the ends are bounded by the mean, divided by 1 + rows / 100."""
    isotonic = fit_isotonic(probability, label)
    mean = float(label.mean())
    lowest = mean / (1.0 + len(label) / 100)
    highest = 1.0 - (1.0 - mean) / (1.0 + len(label) / 100)
    return Calibration(isotonic.x, tuple(min(max(y, lowest), highest) for y in isotonic.y))
