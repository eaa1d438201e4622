"""The stage: compare a window of events and exposures with what the champion was trained on and how it did before."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from vetrina.core.types import Baseline, Drift, HealthReport, Interval, Window
from vetrina.metrics.attribution import followed

_LEAST_FOR_DRIFT, _LEAST_EXPOSURES = 200, 200
_NULL_DRAWS, _NULL_QUANTILE = 400, 0.99


def monitor(window: Window, baseline: Baseline) -> HealthReport:
    """What a merchandiser and the retrain policy need to know of ``window``."""
    clicks = clicked(window)
    seen = Counter(e["product_id"] for e in window.events if e.get("product_id"))
    drift = {}
    if len(window.events) >= _LEAST_FOR_DRIFT and baseline.types:
        drift["type"] = drifted(Counter(e["type"] for e in window.events), baseline.types)
    return HealthReport(
        scenario=window.scenario,
        version=baseline.version,
        since=window.since,
        until=window.until,
        events=len(window.events),
        exposures=len(window.exposures),
        clicks=clicks,
        users=len({e["user"] for e in window.events}),
        new_products=sum(1 for p in seen if p not in baseline.products),
        drift=drift,
        version_age_days=(window.until - baseline.built) / 86_400 if baseline.built is not None else 0.0,
        estimated_loss=loss(clicks, len(window.exposures), baseline.clicks, baseline.exposures),
    )


def clicked(window: Window) -> int:
    """Answers of the window that someone followed: an event on a shown product that names the answer."""
    shown = {e["request_id"]: {i["product_id"] for i in e["items"]} for e in window.exposures}
    return len({followed(e, shown) for e in window.events} - {None})


def loss(clicks: int, exposures: int, clicks_before: int, exposures_before: int) -> Interval | None:
    """Relative fall of the click rate with its two-sided 95 % interval (normal approximation); None when too little is known."""
    if min(exposures, exposures_before) < _LEAST_EXPOSURES or not clicks_before:
        return None
    before, now = clicks_before / exposures_before, clicks / exposures
    spread = np.sqrt(before * (1 - before) / exposures_before + now * (1 - now) / exposures)
    point, half = (before - now) / before, 1.96 * float(spread) / before
    return Interval(point, point - half, point + half)


def drifted(seen: Mapping[str, float], expected: Mapping[str, float]) -> Drift:
    """Distance of the seen from the expected shares, beside what that many draws from the expected ones give.

    The threshold is the 99 % quantile of the statistic's own null distribution, by simulation.
    """
    names = sorted({*seen, *expected})
    total = int(sum(seen.values()))
    q = np.array([expected.get(n, 0.0) for n in names], float)
    q /= q.sum()
    null = np.random.default_rng(42).multinomial(total, q, size=_NULL_DRAWS) / total
    threshold = float(np.quantile(distances(null, q), _NULL_QUANTILE))
    p = np.array([seen.get(n, 0.0) for n in names], float) / total
    return Drift(float(distances(p[None], q)[0]), threshold)


def distances(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distances (base 2, so 0..1; Lin 1991) of each row of ``p`` (n, names) from ``q`` (names,)."""
    middle = (p + q) / 2

    def divergence(a: np.ndarray) -> np.ndarray:
        inside = np.divide(a, middle, out=np.ones_like(middle), where=(middle > 0) & (a > 0))
        return (a * np.log2(inside)).sum(1)

    return np.sqrt(np.maximum(0.0, (divergence(p) + divergence(np.broadcast_to(q, p.shape))) / 2))
