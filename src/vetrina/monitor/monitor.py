"""The stage: a day of a scenario beside days like it. Pure, on what is kept of the days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from vetrina.core.clock import DAY
from vetrina.core.health import Baseline, Day, Drift, HealthReport, Moments, Places, Window
from vetrina.core.types import Interval
from vetrina.metrics import drift, position_bias
from vetrina.monitor.columns import PLACES

FALSE_FINDINGS = 0.1
_LEAST_ANSWERS, _LEAST_LABELS = 200, 100
_SURE = 3.0


@dataclass(frozen=True)
class _Compared:
    """A feature with the days to compare it with."""

    own: Moments
    days: list[drift.Numbered]


def monitor(window: Window, baseline: Baseline) -> HealthReport:
    """What a merchandiser and the retrain policy need to know of a day."""
    shop, answers = window.shop, window.answers
    number = answers.number
    features, why_not = _comparable(shop, baseline.shop)
    more, why_not_more = _comparable(answers, baseline.answers, baseline.learnt)
    features |= more
    names = sorted(features)
    p = np.array([drift.p_value((number, features[n].own), features[n].days) for n in names])
    found = drift.discoveries(p, FALSE_FINDINGS)
    moved = {
        n: Drift(drift.moved(f.own, reduce(add, drift.alike(number, f.days))), float(p[i]), bool(found[i]))
        for i, (n, f) in enumerate((n, features[n]) for n in names)
    }
    return HealthReport(
        scenario=window.scenario,
        version=baseline.version,
        day=number,
        events=shop.count,
        answers=answers.count,
        clicked=answers.clicked,
        shoppers=answers.units,
        new_products=shop.unknown,
        version_age_days=(window.now - baseline.built) / DAY if baseline.built is not None else 0.0,
        drift=moved,
        not_evaluable=why_not | why_not_more,
        # A loss of the version before is no reason to train the one after it again.
        estimated_loss=loss(answers, baseline.answers) if answers.version == baseline.version else None,
        calibration=calibration(answers, baseline.answers) if answers.version == baseline.version else None,
        coverage=answers.distinct / baseline.products if baseline.products and answers.distinct else None,
        click_delay_seconds=_median_delay(answers.delays),
        replay_overlap=answers.replayed[1] if answers.replayed and answers.replayed[0] else None,
        shared=tuple(sorted(shop.features)),
    )


def _comparable(
    day: Day, earlier: Sequence[Day], learnt: Day | None = None
) -> tuple[dict[str, _Compared], dict[str, str]]:
    """Features with enough shoppers and enough days measured alike; and why the others are not evaluable."""
    ready, why_not = {}, {}
    for name, own in day.features.items():
        if own.units < drift.LEAST_UNITS:
            why_not[name] = f"{own.units} shoppers, {drift.LEAST_UNITS} asked for"
            continue
        days = [
            (d.number, d.features[name])
            for d in ((learnt,) if learnt else earlier)
            if name in d.features
            and d.features[name].units >= drift.LEAST_UNITS
            and d.rulers.get(name) == day.rulers.get(name)
        ]
        if len(days) < (1 if learnt else drift.LEAST_DAYS):
            why_not[name] = f"{len(days)} days to compare with, {drift.LEAST_DAYS} asked for"
            continue
        ready[name] = _Compared(own, days)
    return ready, why_not


def loss(day: Day, earlier: Sequence[Day]) -> Interval | None:
    """Relative fall of clicks per place looked at, with its 99.7 % interval; None when too little is known.

    It is looked at every day and a sure loss trains anew: with 95 % a small shop would do so every other month for nothing.

    A click rate alone falls when more places are shown; clicks per place that was looked at, by the position-based model of
    the earlier days, does not. Days are compared with days of their weekday.
    """
    known = [(d.number, d.response) for d in earlier if d.response and d.count >= _LEAST_ANSWERS]
    if day.response is None or day.count < _LEAST_ANSWERS or len(known) < drift.LEAST_DAYS:
        return None
    looked = _bias(earlier).looked
    usual = reduce(add, drift.alike(day.number, known)).mean()
    before = float(usual[:PLACES].sum() / max(float(looked @ usual[PLACES:]), 1e-12))
    if before <= 0:
        return None
    short = np.concatenate([-np.ones(PLACES), before * looked])  # clicks that a unit is short of what was usual
    scale = before * float(looked @ day.response.mean()[PLACES:])
    lines = [(n, m.along(short)) for n, m in known]
    own, other = day.response.along(short), reduce(add, drift.alike(day.number, lines))
    point = float((own.mean() - other.mean())[0]) / scale
    error = np.sqrt(own.covariance()[0, 0] / own.units + other.covariance()[0, 0] / other.units)
    half = _SURE * float(error * np.sqrt(drift.width(lines))) / scale
    return Interval(point, point - half, point + half)


def calibration(day: Day, earlier: Sequence[Day]) -> Interval | None:
    """What happened over what was expected, with its 95 % interval: 1 is calibrated.

    Where labels of predictions came in, their sum over the sum of probabilities; else clicks over what score and place of the
    products shown led to expect.
    """
    if day.labelled is not None:
        rows, expected, variance, happened = day.labelled
        if rows < _LEAST_LABELS or expected <= 0:
            return None
        half = 1.96 * float(np.sqrt(variance)) / expected
        return Interval(happened / expected, happened / expected - half, happened / expected + half)
    places = _pooled(earlier)
    if day.response is None or not day.places.columns or day.count < _LEAST_ANSWERS or sum(places.clicked) == 0:
        return None
    bias = _bias(earlier)
    expected = float((_table(day.places.shown) * np.outer(bias.wanted, bias.looked)).sum())
    clicks = float(sum(day.places.clicked))
    if expected <= 0 or not clicks:
        return None
    each = day.response.along(np.concatenate([np.ones(PLACES), np.zeros(PLACES)]))
    half = 1.96 * float(np.sqrt(each.covariance()[0, 0] * each.units)) / expected
    return Interval(clicks / expected, clicks / expected - half, clicks / expected + half)


def _bias(earlier: Sequence[Day]) -> position_bias.Bias:
    found = _pooled(earlier)
    if not found.columns:
        return position_bias.estimate(np.zeros((1, PLACES)), np.zeros((1, PLACES)))
    return position_bias.estimate(_table(found.shown), _table(found.clicked))


def _pooled(days: Sequence[Day]) -> Places:
    return reduce(add, (d.places for d in days), Places())


def _table(cells: Sequence[int]) -> np.ndarray:
    return np.array(cells, float).reshape(-1, PLACES)


def _median_delay(delays: Sequence[int]) -> float | None:
    total = sum(delays)
    if not total:
        return None
    at = int(np.searchsorted(np.cumsum(delays), total / 2))
    return float(2.0 ** (at + 0.5) - 1.0)


def persistent(reports: Sequence[HealthReport]) -> Mapping[str, Drift]:
    """Features that drifted on two of the last three days, as the newest of these days shows them."""
    last = [r.drift for r in reports[-3:]]
    names = {n for r in last for n, d in r.items() if d.drifted}
    twice = (n for n in sorted(names) if sum(n in r and r[n].drifted for r in last) >= 2)
    return {n: next(r[n] for r in reversed(last) if n in r and r[n].drifted) for n in twice}
