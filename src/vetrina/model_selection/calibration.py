"""Isotonic calibration of probabilities by pool-adjacent-violators.

It maps predicted probabilities to observed shares by a non-decreasing function. Probabilities that are right on the whole
but wrong for single values of a field need ``field_calibration.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.classification import log_loss

_MIN_ROWS = 200
_N_FOLDS = 2


@dataclass(frozen=True)
class Calibration:
    """Predicted probabilities ``x`` (n,) ascending and the observed shares ``y`` (n,), linear in between; none: identity."""

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def transform(self, probability: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return calibrated probabilities, of the shape of ``probability``; unchanged without points."""
        if not self.x:
            return np.asarray(probability).astype(np.float32)
        return np.interp(probability, self.x, self.y).astype(np.float32)


def isotonic_regression(probability: NDArray[np.floating], label: NDArray[np.floating]) -> Calibration:
    """Return the least-squares non-decreasing function of ``probability`` (n,), one point a step at the step's mean.

    Barlow et al. 1972.
    """
    order = np.argsort(probability, kind="stable")
    blocks: list[list[float]] = []  # sum of x, sum of y, rows
    for x, y in zip(probability[order].tolist(), label[order].tolist(), strict=True):
        blocks.append([x, y, 1.0])
        while len(blocks) > 1 and _decreases(blocks[-2], blocks[-1]):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return Calibration(
        tuple(sum_x / rows for sum_x, _, rows in blocks),
        tuple(sum_y / rows for _, sum_y, rows in blocks),
    )


def _decreases(left: list[float], right: list[float]) -> bool:
    """Whether the mean of y does not grow from the left block to the right one."""
    _, left_sum, left_rows = left
    _, right_sum, right_rows = right
    return left_sum * right_rows >= right_sum * left_rows


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
    isotonic = isotonic_regression(probability, label)
    mean = float(label.mean())
    lowest = mean / (1.0 + len(label) / 100)
    highest = 1.0 - (1.0 - mean) / (1.0 + len(label) / 100)
    return Calibration(isotonic.x, tuple(min(max(y, lowest), highest) for y in isotonic.y))


def from_options(options: dict[str, Sequence[float]] | None) -> Calibration:
    """Return the calibration that a bundle's options hold, the identity without options."""
    if not options:
        return Calibration()
    return Calibration(tuple(options["x"]), tuple(options["y"]))
