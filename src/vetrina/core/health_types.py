"""Types of monitoring: daily statistics, the reference window and the health report.

A unit is a user, or the session of an anonymous visitor. Tests and thresholds are in ``monitor``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interval

# ``DailyStatistics.part`` of the events of the whole shop, which all scenarios share.
SHOP_SCOPE = "shop"


@lru_cache
def _upper_triangle(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(k)


@dataclass(frozen=True)
class Moments:
    """First and second moments of a feature vector x (k,) over units. They add up over days.

    A unit's x is the mean over its events: units are independent, events of one unit are not.

    Attributes:
        units: Number of units.
        first: (k,) sum of x.
        second: (k (k + 1) / 2,) upper triangle of the sum of x x', by rows.
    """

    units: int
    first: tuple[float, ...]
    second: tuple[float, ...]

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.units + other.units,
            _add_tuples(self.first, other.first),
            _add_tuples(self.second, other.second),
        )

    def mean(self) -> NDArray[np.float64]:
        """(k,) mean of x; zeros without units."""
        return np.array(self.first) / max(self.units, 1)

    def covariance(self) -> NDArray[np.float64]:
        """(k, k) covariance of x over units."""
        mean = self.mean()
        mean_square = self.second_moment_matrix() / max(self.units, 1)
        return mean_square - np.outer(mean, mean)

    def second_moment_matrix(self) -> NDArray[np.float64]:
        """(k, k) sum of x x'."""
        width = len(self.first)
        upper = _upper_triangle(width)
        full = np.zeros((width, width))
        full[upper] = self.second
        full.T[upper] = self.second
        return full

    def project(self, direction: NDArray[np.float64]) -> "Moments":
        """Moments of the number ``direction`` @ x, for a ``direction`` (k,)."""
        first = float(direction @ np.array(self.first))
        second = float(direction @ self.second_moment_matrix() @ direction)
        return Moments(self.units, (first,), (second,))


@dataclass(frozen=True)
class BinEdges:
    """Encoding of a feature's raw values as a vector. It is fixed on the first day, so that days are comparable.

    Attributes:
        groups: Values of a categorical feature that have a component of their own; other values have none.
        edges: Ascending bin edges of a numeric feature.
    """

    groups: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


@dataclass(frozen=True)
class PositionCounts:
    """Impressions and clicks by score bin (rows, lowest first) and position (columns, first position first).

    Attributes:
        columns: Number of positions.
        shown: (rows * columns,) impressions, by rows.
        clicked: (rows * columns,) clicks, by rows.
    """

    columns: int = 0
    shown: tuple[int, ...] = ()
    clicked: tuple[int, ...] = ()

    def __add__(self, other: "PositionCounts") -> "PositionCounts":
        if not self.columns:
            return other
        if not other.columns:
            return self
        shown = tuple(a + b for a, b in zip(self.shown, other.shown, strict=True))
        clicked = tuple(a + b for a, b in zip(self.clicked, other.clicked, strict=True))
        return PositionCounts(self.columns, shown, clicked)


@dataclass(frozen=True)
class DailyStatistics:
    """Statistics of one day of the log: of the shop's events, or of one scenario's answers.

    Attributes:
        part: SHOP_SCOPE, or the name of the scenario.
        number: Days since 1970-01-01 UTC.
        version: Version that answered; None for the shop.
        count: Number of events or answers.
        units: Number of units.
        clicked: Number of answers with a click.
        features: Moments by feature.
        rulers: Bin edges by feature.
        places: Impressions and clicks by score bin and position.
        response: Moments over units of the clicks at each position and the impressions there.
        delays: Number of clicks by log2 of the seconds since the answer.
        distinct: Number of distinct items that were shown.
        unknown: Number of products that are not in the catalogue.
        labelled: (rows, sum of p, sum of p (1 - p), sum of labels) of the predictions p whose label is known by now.
        replayed: (number of answers computed again offline, their mean overlap with the logged answers).
    """

    part: str
    number: int
    version: str | None = None
    count: int = 0
    units: int = 0
    clicked: int = 0
    features: Mapping[str, Moments] = field(default_factory=dict[str, Moments])
    rulers: Mapping[str, BinEdges] = field(default_factory=dict[str, BinEdges])
    places: PositionCounts = PositionCounts()
    response: Moments | None = None
    delays: tuple[int, ...] = ()
    distinct: int = 0
    unknown: int = 0
    labelled: tuple[float, float, float, float] | None = None
    replayed: tuple[int, float] | None = None


@dataclass(frozen=True)
class CurrentWindow:
    """The day of a scenario that is checked: the shop's events, the scenario's answers, and the time of the check."""

    scenario: str
    shop_day: DailyStatistics
    answer_day: DailyStatistics
    now: float


@dataclass(frozen=True)
class ReferenceWindow:
    """What a day is compared with.

    Attributes:
        version: The champion.
        built_at: When it was built, in seconds since 1970.
        catalogue_size: Number of products in its catalogue.
        shop_days: Earlier days of the shop's events.
        answer_days: Earlier days of the scenario's answers.
        training_statistics: Statistics of the training data (predict only), compared with in place of earlier days.
    """

    version: str | None
    built_at: float | None
    catalogue_size: int = 0
    shop_days: Sequence[DailyStatistics] = ()
    answer_days: Sequence[DailyStatistics] = ()
    training_statistics: DailyStatistics | None = None


@dataclass(frozen=True)
class Drift:
    """Drift of one feature.

    Attributes:
        moved: Shift of the mean, in standard deviations over units.
        p: p-value of the shift.
        drifted: Whether the shift is significant, with the false discovery rate controlled over all features of the day.
    """

    moved: float
    p: float
    drifted: bool


@dataclass(frozen=True)
class HealthReport:
    """Health of a served scenario on one day. What cannot be evaluated is None or missing.

    Attributes:
        day: Days since 1970-01-01 UTC.
        clicked: Number of answers with a click.
        shoppers: Number of users and anonymous sessions.
        new_products: Number of products that are not in the champion's catalogue.
        version_age_days: Age of the champion.
        drift: Drift by feature.
        not_evaluable: Reasons by name of what could not be evaluated.
        estimated_loss: Relative loss of clicks against the reference window.
        calibration: Observed over predicted rate.
        coverage: Share of the catalogue that was shown.
        click_delay_seconds: Median time from an answer to a click.
        replay_overlap: Mean overlap of logged answers with the same answers computed offline.
        shared: Features of ``drift`` that belong to the shop's events, equal for all scenarios.
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
class CandidateUnderTest:
    """The candidate that a canary tests: its age, and the longest duration of the canary, in days."""

    age_days: float
    cap_days: float


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to retrain a scenario, and why."""

    scenario: str
    retrain: bool
    why: str


def _add_tuples(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
