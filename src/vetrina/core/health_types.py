"""What is kept of a day of the log, what it is compared with, and what monitoring says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interval

SHOP_SCOPE = "shop"  # the part of a day that all scenarios share: what shoppers did


@lru_cache
def _upper_triangle(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(k)


@dataclass(frozen=True)
class Moments:
    """Sums over units (shoppers) of a vector x (k,): how many, x itself, and the upper triangle of x x', by rows.

    They add up over days. A unit's x is the mean over its events, so units are independent where events are not.
    """

    units: int
    first: tuple[float, ...]
    second: tuple[float, ...]

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.units + other.units,
            tuple(a + b for a, b in zip(self.first, other.first, strict=True)),
            tuple(a + b for a, b in zip(self.second, other.second, strict=True)),
        )

    def mean(self) -> NDArray[np.float64]:
        """(k,)."""
        return np.array(self.first) / max(self.units, 1)

    def covariance(self) -> NDArray[np.float64]:
        """(k, k) of one unit."""
        mean = self.mean()
        return self.second_moment_matrix() / max(self.units, 1) - np.outer(mean, mean)

    def second_moment_matrix(self) -> NDArray[np.float64]:
        """(k, k) the sum of x x'."""
        upper = _upper_triangle(len(self.first))
        full = np.zeros((len(self.first),) * 2)
        full[upper] = self.second
        full.T[upper] = self.second
        return full

    def project(self, direction: NDArray[np.float64]) -> "Moments":
        """Of the number ``direction`` @ x."""
        square = float(direction @ self.second_moment_matrix() @ direction)
        return Moments(self.units, (float(direction @ np.array(self.first)),), (square,))


@dataclass(frozen=True)
class BinEdges:
    """How raw values of a feature become a vector, fixed on the first day so that all days are measured alike.

    ``groups``: names that have a column of their own, all others share none. ``edges``: rising quantiles of a number.
    """

    groups: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


@dataclass(frozen=True)
class PositionCounts:
    """Shown and clicked products by score (rows, lowest first) and place (columns, first place first), by rows."""

    columns: int = 0
    shown: tuple[int, ...] = ()
    clicked: tuple[int, ...] = ()

    def __add__(self, other: "PositionCounts") -> "PositionCounts":
        if not self.columns or not other.columns:
            return self if self.columns else other
        return PositionCounts(
            self.columns,
            tuple(a + b for a, b in zip(self.shown, other.shown, strict=True)),
            tuple(a + b for a, b in zip(self.clicked, other.clicked, strict=True)),
        )


@dataclass(frozen=True)
class DailyStatistics:
    """One day (``number`` days since 1970, UTC) of the log: of the shop, or of one scenario's answers.

    ``count`` events or answers of ``units`` shoppers. ``response`` holds, by unit, clicks at each place and products shown
    there. ``delays`` counts clicks by log2 of the seconds since the answer. ``labelled`` is (rows, their sum of p, of p (1 - p),
    of the label) of predictions whose truth came in. ``replayed`` is (answers made again offline, their mean overlap).
    """

    part: str
    number: int
    version: str | None = None
    count: int = 0
    units: int = 0
    clicked: int = 0
    features: Mapping[str, Moments] = field(default_factory=dict)
    rulers: Mapping[str, BinEdges] = field(default_factory=dict)
    places: PositionCounts = PositionCounts()
    response: Moments | None = None
    delays: tuple[int, ...] = ()
    distinct: int = 0
    unknown: int = 0
    labelled: tuple[float, float, float, float] | None = None
    replayed: tuple[int, float] | None = None


@dataclass(frozen=True)
class CurrentWindow:
    """One day of a scenario, looked at ``now`` (seconds since 1970): what shoppers did, and what they were shown."""

    scenario: str
    shop_day: DailyStatistics
    answer_day: DailyStatistics
    now: float


@dataclass(frozen=True)
class ReferenceWindow:
    """What a day is compared with: the version that serves and the size of its catalogue, and earlier days of both parts.

    ``learnt`` is what a version saw in training (predict), to be compared with instead of earlier days.
    """

    version: str | None
    built_at: float | None
    catalogue_size: int = 0
    shop_days: Sequence[DailyStatistics] = ()
    answer_days: Sequence[DailyStatistics] = ()
    training_statistics: DailyStatistics | None = None


@dataclass(frozen=True)
class Drift:
    """How far a feature moved, in standard deviations of a shopper; the chance of as much without cause; the verdict.

    ``drifted`` controls the share of false findings over all features of the day.
    """

    moved: float
    p: float
    drifted: bool


@dataclass(frozen=True)
class HealthReport:
    """What a day of the log says about a served scenario. What cannot be evaluated is None or missing.

    ``shared`` names the features of ``drift`` that are the shop's, alike for all its scenarios.
    """

    scenario: str
    version: str | None
    day: int
    events: int
    answers: int
    clicked: int
    shoppers: int
    new_products: int
    version_age_days: float
    drift: Mapping[str, Drift]
    not_evaluable: Mapping[str, str]
    estimated_loss: Interval | None
    calibration: Interval | None
    coverage: float | None
    click_delay_seconds: float | None
    replay_overlap: float | None
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train again, and why."""

    scenario: str
    retrain: bool
    why: str
