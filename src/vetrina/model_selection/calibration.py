"""Calibration of probabilities: a non-decreasing function from predicted probabilities to observed shares.

``isotonic_regression.py`` fits it. Probabilities that are right on the whole but wrong for single values of a field need
``field_calibration.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def from_options(options: dict[str, Sequence[float]] | None) -> Calibration:
    """Return the calibration that a bundle's options hold, the identity without options."""
    if not options:
        return Calibration()
    return Calibration(tuple(options["x"]), tuple(options["y"]))
