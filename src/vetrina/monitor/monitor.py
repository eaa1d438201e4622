"""Health report of a day: drift against earlier days, click loss, calibration, coverage and replay overlap.

Pure: works on daily statistics, knows neither the log nor the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.health_types import (
    CurrentWindow,
    DailyStatistics,
    Drift,
    HealthReport,
    Moments,
    PositionCounts,
    ReferenceWindow,
)
from vetrina.core.types import Interval
from vetrina.data import position_bias
from vetrina.evaluation import drift
from vetrina.monitor.log_columns import N_POSITIONS

FALSE_DISCOVERY_RATE = 0.1  # over all features of a day
_MIN_ANSWERS = 200  # of a day
_MIN_LABELS = 100  # of a day
_Z_SCORE = 3.0  # of a two-sided 99.7 % interval
_Z_SCORE_CALIBRATION = 1.96  # of a two-sided 95 % interval
_DRIFT_WINDOW_DAYS = 3
_MIN_DRIFT_DAYS = 2  # of the window


@dataclass(frozen=True)
class _FeatureComparison:
    """A feature of a day with the days to compare it with."""

    current: Moments
    reference: list[drift.DayMoments]


@dataclass(frozen=True)
class _ComparableFeatures:
    """Features that can be compared, by name, and why the others are not evaluable."""

    comparisons: dict[str, _FeatureComparison]
    not_evaluable: dict[str, str]


def monitor(current: CurrentWindow, reference: ReferenceWindow) -> HealthReport:
    """The health of a scenario on one day, compared with earlier days or, for predict, with the training data."""
    shop = current.shop_day
    answers = current.answer_day
    shop_features = _comparable_features(shop, reference.shop_days)
    answer_features = _comparable_features(answers, reference.answer_days, reference.training_statistics)
    comparisons = shop_features.comparisons | answer_features.comparisons

    version_age_days = 0.0
    if reference.built_at is not None:
        version_age_days = (current.now - reference.built_at) / DAY
    click_loss = None
    calibration_interval = None
    if answers.version == reference.version:  # a loss of the version before is no reason to retrain the one after it
        click_loss = relative_click_loss(answers, reference.answer_days)
        calibration_interval = calibration(answers, reference.answer_days)
    coverage = None
    if reference.catalogue_size and answers.distinct:
        coverage = answers.distinct / reference.catalogue_size
    replay_overlap = None
    if answers.replayed is not None and answers.replayed[0] > 0:
        replay_overlap = answers.replayed[1]
    return HealthReport(
        scenario=current.scenario,
        version=reference.version,
        day=answers.number,
        events=shop.count,
        answers=answers.count,
        clicked=answers.clicked,
        shoppers=answers.units,
        new_products=shop.unknown,
        version_age_days=version_age_days,
        drift=_drift_by_feature(answers.number, comparisons),
        not_evaluable=shop_features.not_evaluable | answer_features.not_evaluable,
        estimated_loss=click_loss,
        calibration=calibration_interval,
        coverage=coverage,
        click_delay_seconds=_median_delay(answers.delays),
        replay_overlap=replay_overlap,
        shared=tuple(sorted(shop.features)),
    )


def relative_click_loss(day: DailyStatistics, earlier: Sequence[DailyStatistics]) -> Interval | None:
    """Relative fall of clicks per examined position, with its 99.7 % interval; None with too little data.

    The interval is that wide because it is computed every day and a certain loss starts a training: with 95 % a small shop would
    retrain every other month for nothing.

    A click rate alone falls when more positions are shown; clicks per examined position, by the position-based model of the
    earlier days, do not. Days are compared with days of the same weekday.
    """
    reference = [(d.number, d.response) for d in earlier if d.response and d.count >= _MIN_ANSWERS]
    if day.response is None or day.count < _MIN_ANSWERS or len(reference) < drift.MIN_DAYS:
        return None
    # A unit's response is (2 * N_POSITIONS,): clicks by position, then impressions by position.
    examination = _position_bias(earlier).examination
    reference_response = reduce(add, drift.comparable_days(day.number, reference)).mean()
    reference_clicks = reference_response[:N_POSITIONS].sum()
    reference_examined = float(examination @ reference_response[N_POSITIONS:])
    reference_rate = float(reference_clicks / max(reference_examined, 1e-12))
    if reference_rate <= 0:
        return None
    missing_clicks = np.concatenate(
        [-np.ones(N_POSITIONS), reference_rate * examination]
    )  # of a unit, expected less observed
    expected_clicks = reference_rate * float(examination @ day.response.mean()[N_POSITIONS:])
    reference_losses = [(number, response.project(missing_clicks)) for number, response in reference]
    loss = day.response.project(missing_clicks)
    reference_loss = reduce(add, drift.comparable_days(day.number, reference_losses))
    point = float((loss.mean() - reference_loss.mean())[0]) / expected_clicks
    variance = loss.covariance()[0, 0] / loss.units + reference_loss.covariance()[0, 0] / reference_loss.units
    error = np.sqrt(variance)
    half_width = _Z_SCORE * float(error * np.sqrt(drift.inflation_factor(reference_losses))) / expected_clicks
    return Interval(point, point - half_width, point + half_width)


def calibration(day: DailyStatistics, earlier: Sequence[DailyStatistics]) -> Interval | None:
    """Observed over predicted outcomes, with its 95 % interval: 1 is calibrated. None with too little data.

    Where labels of predictions came in, their sum over the sum of probabilities; else clicks over those that the scores and
    positions of the impressions predict.
    """
    if day.labelled is not None:
        return _label_calibration(day.labelled)
    return _click_calibration(day, earlier)


def persistent_drift(reports: Sequence[HealthReport]) -> Mapping[str, Drift]:
    """Features that drifted on two of the last three days, each with its drift on the newest of these days."""
    drifted_days: dict[str, list[Drift]] = {}
    for report in reports[-_DRIFT_WINDOW_DAYS:]:
        for name, feature_drift in report.drift.items():
            if feature_drift.drifted:
                drifted_days.setdefault(name, []).append(feature_drift)
    return {name: days[-1] for name, days in sorted(drifted_days.items()) if len(days) >= _MIN_DRIFT_DAYS}


def _comparable_features(
    day: DailyStatistics, earlier: Sequence[DailyStatistics], training: DailyStatistics | None = None
) -> _ComparableFeatures:
    """Features of a day with enough units, and enough earlier days (or training data) with the same bin edges."""
    reference_days = earlier
    min_days = drift.MIN_DAYS
    if training is not None:
        reference_days = (training,)
        min_days = 1
    comparisons: dict[str, _FeatureComparison] = {}
    not_evaluable: dict[str, str] = {}
    for name, current in day.features.items():
        if current.units < drift.MIN_UNITS:
            not_evaluable[name] = f"{current.units} users, {drift.MIN_UNITS} required"
            continue
        reference = [(d.number, d.features[name]) for d in reference_days if _has_comparable(d, day, name)]
        if len(reference) < min_days:
            not_evaluable[name] = f"{len(reference)} days to compare with, {drift.MIN_DAYS} required"
            continue
        comparisons[name] = _FeatureComparison(current, reference)
    return _ComparableFeatures(comparisons, not_evaluable)


def _has_comparable(reference: DailyStatistics, day: DailyStatistics, name: str) -> bool:
    """Whether a reference day has enough units of a feature, encoded with the same bin edges."""
    feature = reference.features.get(name)
    if feature is None or feature.units < drift.MIN_UNITS:
        return False
    return reference.rulers.get(name) == day.rulers.get(name)


def _drift_by_feature(day_number: int, comparisons: Mapping[str, _FeatureComparison]) -> dict[str, Drift]:
    """Shift, p-value and verdict of each feature, with the false discovery rate controlled over all of them."""
    names = sorted(comparisons)
    p_values = np.array(
        [drift.p_value((day_number, comparisons[name].current), comparisons[name].reference) for name in names]
    )
    rejected = drift.benjamini_hochberg(p_values, FALSE_DISCOVERY_RATE)
    drift_by_feature: dict[str, Drift] = {}
    for number, name in enumerate(names):
        comparison = comparisons[name]
        pooled = reduce(add, drift.comparable_days(day_number, comparison.reference))
        shift = drift.largest_shift(comparison.current, pooled)
        drift_by_feature[name] = Drift(shift, float(p_values[number]), bool(rejected[number]))
    return drift_by_feature


def _label_calibration(labelled: tuple[float, float, float, float]) -> Interval | None:
    """From the number of labelled rows, and their sums of p, of p (1 - p) and of the label."""
    n_rows, predicted, variance, observed = labelled
    if n_rows < _MIN_LABELS or predicted <= 0:
        return None
    ratio = observed / predicted
    half_width = _Z_SCORE_CALIBRATION * float(np.sqrt(variance)) / predicted
    return Interval(ratio, ratio - half_width, ratio + half_width)


def _click_calibration(day: DailyStatistics, earlier: Sequence[DailyStatistics]) -> Interval | None:
    earlier_clicks = sum(_pooled_position_counts(earlier).clicked)
    if day.response is None or not day.places.columns or day.count < _MIN_ANSWERS or earlier_clicks == 0:
        return None
    bias = _position_bias(earlier)
    click_probability = np.outer(bias.relevance, bias.examination)
    predicted = float((_position_matrix(day.places.shown) * click_probability).sum())
    clicks = float(sum(day.places.clicked))
    if predicted <= 0 or not clicks:
        return None
    clicks_only = np.concatenate([np.ones(N_POSITIONS), np.zeros(N_POSITIONS)])
    unit_clicks = day.response.project(clicks_only)
    error = float(np.sqrt(unit_clicks.covariance()[0, 0] * unit_clicks.units))
    ratio = clicks / predicted
    half_width = _Z_SCORE_CALIBRATION * error / predicted
    return Interval(ratio, ratio - half_width, ratio + half_width)


def _position_bias(days: Sequence[DailyStatistics]) -> position_bias.PositionBias:
    """Position-based click model of the pooled counts of some days."""
    counts = _pooled_position_counts(days)
    if not counts.columns:
        nothing = np.zeros((1, N_POSITIONS))
        return position_bias.estimate_position_bias(nothing, nothing)
    return position_bias.estimate_position_bias(_position_matrix(counts.shown), _position_matrix(counts.clicked))


def _pooled_position_counts(days: Sequence[DailyStatistics]) -> PositionCounts:
    return reduce(add, (day.places for day in days), PositionCounts())


def _position_matrix(cells: Sequence[int]) -> NDArray[np.float64]:
    """(score bins, positions)."""
    return np.array(cells, float).reshape(-1, N_POSITIONS)


def _median_delay(delays: Sequence[int]) -> float | None:
    """Median seconds from answer to click, from counts by log2 of the seconds."""
    total = sum(delays)
    if not total:
        return None
    median_bin = int(np.searchsorted(np.cumsum(delays), total / 2))
    return float(2.0 ** (median_bin + 0.5) - 1.0)
