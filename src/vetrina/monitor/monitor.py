"""The stage: a day of a scenario beside days like it. Pure, on what is kept of the days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

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
from vetrina.metrics import drift, position_bias
from vetrina.monitor.log_columns import N_POSITIONS

FALSE_DISCOVERY_RATE = 0.1
_MIN_ANSWERS = 200
_MIN_LABELS = 100
_Z_SCORE = 3.0


@dataclass(frozen=True)
class _FeatureComparison:
    """A feature with the days to compare it with."""

    current: Moments
    reference: list[drift.DayMoments]


def monitor(current: CurrentWindow, reference: ReferenceWindow) -> HealthReport:
    """What a merchandiser and the retrain policy need to know of a day."""
    shop = current.shop_day
    answers = current.answer_day
    number = answers.number
    features, why_not = _comparable_features(shop, reference.shop_days)
    more, why_not_more = _comparable_features(answers, reference.answer_days, reference.training_statistics)
    features |= more
    names = sorted(features)
    p = np.array([drift.p_value((number, features[n].current), features[n].reference) for n in names])
    found = drift.benjamini_hochberg(p, FALSE_DISCOVERY_RATE)
    moved = {
        n: Drift(
            drift.largest_shift(f.current, reduce(add, drift.comparable_days(number, f.reference))),
            float(p[i]),
            bool(found[i]),
        )
        for i, (n, f) in enumerate((n, features[n]) for n in names)
    }
    return HealthReport(
        scenario=current.scenario,
        version=reference.version,
        day=number,
        events=shop.count,
        answers=answers.count,
        clicked=answers.clicked,
        shoppers=answers.units,
        new_products=shop.unknown,
        version_age_days=(current.now - reference.built_at) / DAY if reference.built_at is not None else 0.0,
        drift=moved,
        not_evaluable=why_not | why_not_more,
        # A loss of the version before is no reason to train the one after it again.
        estimated_loss=relative_click_loss(answers, reference.answer_days)
        if answers.version == reference.version
        else None,
        calibration=calibration(answers, reference.answer_days) if answers.version == reference.version else None,
        coverage=answers.distinct / reference.catalogue_size if reference.catalogue_size and answers.distinct else None,
        click_delay_seconds=_median_delay(answers.delays),
        replay_overlap=answers.replayed[1] if answers.replayed and answers.replayed[0] else None,
        shared=tuple(sorted(shop.features)),
    )


def _comparable_features(
    day: DailyStatistics, earlier: Sequence[DailyStatistics], learnt: DailyStatistics | None = None
) -> tuple[dict[str, _FeatureComparison], dict[str, str]]:
    """Features with enough shoppers and enough days measured alike; and why the others are not evaluable."""
    ready = {}
    why_not = {}
    for name, own in day.features.items():
        if own.units < drift.MIN_UNITS:
            why_not[name] = f"{own.units} shoppers, {drift.MIN_UNITS} asked for"
            continue
        days = [
            (d.number, d.features[name])
            for d in ((learnt,) if learnt else earlier)
            if name in d.features
            and d.features[name].units >= drift.MIN_UNITS
            and d.rulers.get(name) == day.rulers.get(name)
        ]
        if len(days) < (1 if learnt else drift.MIN_DAYS):
            why_not[name] = f"{len(days)} days to compare with, {drift.MIN_DAYS} asked for"
            continue
        ready[name] = _FeatureComparison(own, days)
    return ready, why_not


def relative_click_loss(day: DailyStatistics, earlier: Sequence[DailyStatistics]) -> Interval | None:
    """Relative fall of clicks per place looked at, with its 99.7 % interval; None when too little is known.

    It is looked at every day and a sure loss trains anew: with 95 % a small shop would do so every other month for nothing.

    A click rate alone falls when more places are shown; clicks per place that was looked at, by the position-based model of
    the earlier days, does not. Days are compared with days of their weekday.
    """
    known = [(d.number, d.response) for d in earlier if d.response and d.count >= _MIN_ANSWERS]
    if day.response is None or day.count < _MIN_ANSWERS or len(known) < drift.MIN_DAYS:
        return None
    looked = _position_bias(earlier).examination
    usual = reduce(add, drift.comparable_days(day.number, known)).mean()
    before = float(usual[:N_POSITIONS].sum() / max(float(looked @ usual[N_POSITIONS:]), 1e-12))
    if before <= 0:
        return None
    short = np.concatenate([-np.ones(N_POSITIONS), before * looked])  # clicks that a unit is short of what was usual
    scale = before * float(looked @ day.response.mean()[N_POSITIONS:])
    lines = [(n, m.project(short)) for n, m in known]
    own = day.response.project(short)
    other = reduce(add, drift.comparable_days(day.number, lines))
    point = float((own.mean() - other.mean())[0]) / scale
    error = np.sqrt(own.covariance()[0, 0] / own.units + other.covariance()[0, 0] / other.units)
    half = _Z_SCORE * float(error * np.sqrt(drift.inflation_factor(lines))) / scale
    return Interval(point, point - half, point + half)


def calibration(day: DailyStatistics, earlier: Sequence[DailyStatistics]) -> Interval | None:
    """What happened over what was expected, with its 95 % interval: 1 is calibrated.

    Where labels of predictions came in, their sum over the sum of probabilities; else clicks over what score and place of the
    products shown led to expect.
    """
    if day.labelled is not None:
        rows, expected, variance, happened = day.labelled
        if rows < _MIN_LABELS or expected <= 0:
            return None
        half = 1.96 * float(np.sqrt(variance)) / expected
        return Interval(happened / expected, happened / expected - half, happened / expected + half)
    places = _pooled_position_counts(earlier)
    if day.response is None or not day.places.columns or day.count < _MIN_ANSWERS or sum(places.clicked) == 0:
        return None
    bias = _position_bias(earlier)
    expected = float((_position_matrix(day.places.shown) * np.outer(bias.relevance, bias.examination)).sum())
    clicks = float(sum(day.places.clicked))
    if expected <= 0 or not clicks:
        return None
    each = day.response.project(np.concatenate([np.ones(N_POSITIONS), np.zeros(N_POSITIONS)]))
    half = 1.96 * float(np.sqrt(each.covariance()[0, 0] * each.units)) / expected
    return Interval(clicks / expected, clicks / expected - half, clicks / expected + half)


def _position_bias(earlier: Sequence[DailyStatistics]) -> position_bias.PositionBias:
    found = _pooled_position_counts(earlier)
    if not found.columns:
        return position_bias.estimate_position_bias(np.zeros((1, N_POSITIONS)), np.zeros((1, N_POSITIONS)))
    return position_bias.estimate_position_bias(_position_matrix(found.shown), _position_matrix(found.clicked))


def _pooled_position_counts(days: Sequence[DailyStatistics]) -> PositionCounts:
    return reduce(add, (d.places for d in days), PositionCounts())


def _position_matrix(cells: Sequence[int]) -> np.ndarray:
    return np.array(cells, float).reshape(-1, N_POSITIONS)


def _median_delay(delays: Sequence[int]) -> float | None:
    total = sum(delays)
    if not total:
        return None
    at = int(np.searchsorted(np.cumsum(delays), total / 2))
    return float(2.0 ** (at + 0.5) - 1.0)


def persistent_drift(reports: Sequence[HealthReport]) -> Mapping[str, Drift]:
    """Features that drifted on two of the last three days, as the newest of these days shows them."""
    last = [r.drift for r in reports[-3:]]
    names = {n for r in last for n, d in r.items() if d.drifted}
    twice = (n for n in sorted(names) if sum(n in r and r[n].drifted for r in last) >= 2)
    return {n: next(r[n] for r in reversed(last) if n in r and r[n].drifted) for n in twice}
