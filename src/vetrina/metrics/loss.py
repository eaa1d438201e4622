"""What making something small may cost: the rule under which a step of compression stays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.bootstrap import paired

POINT, _RESOLUTION_CAP = 0.005, 0.03


@dataclass(frozen=True)
class Loss:
    """Of a mean, relative to what it was: ``point`` and its ``upper`` 95 % bound.

    ``noise`` is half the width of the interval of the mean before, which is what the data can resolve.
    """

    point: float
    upper: float
    noise: float

    @property
    def allowed(self) -> float:
        """Of the upper bound: POINT or what the data resolves, at most 3 %."""
        return max(POINT, min(_RESOLUTION_CAP, self.noise))

    @property
    def bearable(self) -> bool:
        """At most ``allowed``, and the point at most POINT."""
        return self.upper <= self.allowed and self.point <= POINT

    @property
    def resolved(self) -> bool:
        """Whether the data would show a loss of POINT."""
        return self.noise <= POINT


def loss(before: NDArray[np.float64], after: NDArray[np.float64]) -> Loss:
    """Of ``after`` beside ``before``, one value for each of the same units."""
    mean = abs(float(before.mean())) or 1.0
    lost = paired(before, after)
    return Loss(lost.point / mean, lost.high / mean, 1.96 * float(before.std()) / np.sqrt(len(before)) / mean)
