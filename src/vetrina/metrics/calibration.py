"""Isotonic calibration: the non-decreasing steps nearest to what turned out true, by pool-adjacent-violators.

``field_calibration.py`` mends what such steps cannot: a probability that is right on the whole, but not for one value of a field.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.bootstrap import paired_difference
from vetrina.metrics.classification import log_loss

_MIN_ROWS = 200
_N_FOLDS = 2


@dataclass(frozen=True)
class Calibration:
    """Said probabilities ``x`` (n,) ascending and what they were worth, ``y`` (n,); between them a straight line."""

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def transform(self, probability: NDArray[np.floating]) -> NDArray[np.float32]:
        """Calibrated probabilities, of the shape of ``said``; unchanged without steps."""
        return (np.interp(probability, self.x, self.y) if self.x else np.asarray(probability)).astype(np.float32)


def isotonic_regression(probability: NDArray[np.floating], label: NDArray[np.floating]) -> Calibration:
    """Least squares among non-decreasing functions of ``said`` (n,) (Barlow et al. 1972), one point for each step at its mean."""
    order = np.argsort(probability, kind="stable")
    blocks: list[list[float]] = []  # sum of x, sum of y, rows
    for x, y in zip(probability[order].tolist(), label[order].tolist(), strict=True):
        blocks.append([x, y, 1.0])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    points = [(x / n, y / n) for x, y, n in blocks]
    return Calibration(tuple(x for x, _ in points), tuple(y for _, y in points))


def choose_calibration(
    probability: NDArray[np.floating], label: NDArray[np.floating], seed: int = 42, *, significant_only: bool = False
) -> Calibration:
    """Isotonic steps where halves of the rows find each other a smaller log loss with them, else none; with ``shown`` only
    where the lower 95 % bound of the gain is above nothing."""
    if len(label) < _MIN_ROWS or label.min() == label.max():
        return Calibration()
    part = np.random.default_rng(seed).permutation(len(label)) % _N_FOLDS
    crossed = np.empty(len(label), np.float32)
    for fold in range(_N_FOLDS):
        crossed[part == fold] = _smoothed_isotonic(probability[part != fold], label[part != fold]).transform(
            probability[part == fold]
        )
    gain = log_loss(label, probability) - log_loss(label, crossed)
    least = (
        paired_difference(log_loss(label, probability), log_loss(label, crossed)).low
        if significant_only
        else float(gain.mean())
    )
    return _smoothed_isotonic(probability, label) if least > 0 else Calibration()


def _smoothed_isotonic(said: NDArray[np.floating], label: NDArray[np.floating]) -> Calibration:
    """Steps that never say never: each end is drawn to the mean by one row."""
    found = isotonic_regression(said, label)
    mean = float(label.mean())
    lowest = mean / (1.0 + len(label) / 100)
    highest = 1.0 - (1.0 - mean) / (1.0 + len(label) / 100)
    return Calibration(found.x, tuple(min(max(y, lowest), highest) for y in found.y))


def from_options(options: dict[str, Sequence[float]] | None) -> Calibration:
    """A calibration as a bundle's options hold it."""
    return Calibration(tuple(options["x"]), tuple(options["y"])) if options else Calibration()
