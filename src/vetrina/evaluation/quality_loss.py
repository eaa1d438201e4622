"""Quality loss of a compressed model relative to the original, and the rule by which it is acceptable."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.evaluation.bootstrap import paired_difference

MAX_POINT_LOSS = 0.005  # relative
_MAX_RESOLUTION = 0.03  # relative: the most that the upper bound may be widened by noise


@dataclass(frozen=True)
class QualityLoss:
    """Relative loss of a mean metric.

    Attributes:
        point: Estimated loss, relative to the mean before.
        upper: Upper 95 % bound of the loss.
        resolution: Half width of the 95 % interval of the mean before: the smallest loss that the data can resolve.
    """

    point: float
    upper: float
    resolution: float

    @property
    def allowed(self) -> float:
        """Largest acceptable upper bound: MAX_POINT_LOSS or what the data resolve, at most 3 %."""
        return max(MAX_POINT_LOSS, min(_MAX_RESOLUTION, self.resolution))

    @property
    def is_acceptable(self) -> bool:
        """Whether the upper bound is at most ``allowed`` and the point at most MAX_POINT_LOSS."""
        return self.upper <= self.allowed and self.point <= MAX_POINT_LOSS

    @property
    def has_resolution(self) -> bool:
        """Whether the data can resolve a loss of MAX_POINT_LOSS."""
        return self.resolution <= MAX_POINT_LOSS


def quality_loss(before: NDArray[np.float64], after: NDArray[np.float64]) -> QualityLoss:
    """Return the relative loss of ``after`` against ``before``, metric values (units,) of the same units."""
    mean = abs(float(before.mean()))
    if mean == 0.0:
        mean = 1.0
    difference = paired_difference(before, after)
    half_width = 1.96 * float(before.std()) / np.sqrt(len(before))
    return QualityLoss(difference.point / mean, difference.high / mean, half_width / mean)
