"""Isotonic calibration: the non-decreasing steps nearest to what turned out true, by pool-adjacent-violators.

``field_calibration.py`` mends what such steps cannot: a probability that is right on the whole, but not for one value of a field.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.bootstrap import paired
from vetrina.metrics.classification import log_loss

_LEAST, _FOLDS = 200, 2


@dataclass(frozen=True)
class Calibration:
    """Said probabilities ``x`` (n,) ascending and what they were worth, ``y`` (n,); between them a straight line."""

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def of(self, said: NDArray[np.floating]) -> NDArray[np.float32]:
        """Calibrated probabilities, of the shape of ``said``; unchanged without steps."""
        return (np.interp(said, self.x, self.y) if self.x else np.asarray(said)).astype(np.float32)


def isotonic(said: NDArray[np.floating], label: NDArray[np.floating]) -> Calibration:
    """Least squares among non-decreasing functions of ``said`` (n,) (Barlow et al. 1972), one point for each step at its mean."""
    order = np.argsort(said, kind="stable")
    blocks: list[list[float]] = []  # sum of x, sum of y, rows
    for x, y in zip(said[order].tolist(), label[order].tolist(), strict=True):
        blocks.append([x, y, 1.0])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    points = [(x / n, y / n) for x, y, n in blocks]
    return Calibration(tuple(x for x, _ in points), tuple(y for _, y in points))


def chosen(
    said: NDArray[np.floating], label: NDArray[np.floating], seed: int = 42, *, shown: bool = False
) -> Calibration:
    """Isotonic steps where halves of the rows find each other a smaller log loss with them, else none; with ``shown`` only
    where the lower 95 % bound of the gain is above nothing."""
    if len(label) < _LEAST or label.min() == label.max():
        return Calibration()
    part = np.random.default_rng(seed).permutation(len(label)) % _FOLDS
    crossed = np.empty(len(label), np.float32)
    for fold in range(_FOLDS):
        crossed[part == fold] = _smoothed(said[part != fold], label[part != fold]).of(said[part == fold])
    gain = log_loss(label, said) - log_loss(label, crossed)
    least = paired(log_loss(label, said), log_loss(label, crossed)).low if shown else float(gain.mean())
    return _smoothed(said, label) if least > 0 else Calibration()


def _smoothed(said: NDArray[np.floating], label: NDArray[np.floating]) -> Calibration:
    """Steps that never say never: each end is drawn to the mean by one row."""
    found, mean = isotonic(said, label), float(label.mean())
    lowest, highest = mean / (1.0 + len(label) / 100), 1.0 - (1.0 - mean) / (1.0 + len(label) / 100)
    return Calibration(found.x, tuple(min(max(y, lowest), highest) for y in found.y))


def of_options(options: dict[str, Sequence[float]] | None) -> Calibration:
    """A calibration as a bundle's options hold it."""
    return Calibration(tuple(options["x"]), tuple(options["y"])) if options else Calibration()
