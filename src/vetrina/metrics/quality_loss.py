"""What making something small may cost: the rule under which a step of compression stays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.bootstrap import paired_difference

MAX_POINT_LOSS = 0.005
_MAX_RESOLUTION = 0.03


@dataclass(frozen=True)
class QualityLoss:
    """Of a mean, relative to what it was: ``point`` and its ``upper`` 95 % bound.

    ``noise`` is half the width of the interval of the mean before, which is what the data can resolve.
    """

    point: float
    upper: float
    resolution: float

    @property
    def allowed(self) -> float:
        """Of the upper bound: POINT or what the data resolves, at most 3 %."""
        return max(MAX_POINT_LOSS, min(_MAX_RESOLUTION, self.resolution))

    @property
    def is_acceptable(self) -> bool:
        """At most ``allowed``, and the point at most POINT."""
        return self.upper <= self.allowed and self.point <= MAX_POINT_LOSS

    @property
    def has_resolution(self) -> bool:
        """Whether the data would show a loss of POINT."""
        return self.resolution <= MAX_POINT_LOSS


def quality_loss(before: NDArray[np.float64], after: NDArray[np.float64]) -> QualityLoss:
    """Of ``after`` beside ``before``, one value for each of the same units."""
    mean = abs(float(before.mean())) or 1.0
    lost = paired_difference(before, after)
    return QualityLoss(lost.point / mean, lost.high / mean, 1.96 * float(before.std()) / np.sqrt(len(before)) / mean)
