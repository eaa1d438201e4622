"""Health and the decision to train again, on windows whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.types import Baseline, Drift, HealthReport, Interval, Window
from vetrina.monitor.monitor import distances, drifted, loss, monitor
from vetrina.retrain import retrain


def window(events=(), exposures=()) -> Window:
    """One day."""
    return Window("recommend", 0.0, 86_400.0, events, exposures)


def baseline(**changes) -> Baseline:
    """A version built at the start of the day."""
    return Baseline(
        **{"version": "v", "built": 0.0, "types": {}, "products": frozenset("ab"), "exposures": 0, "clicks": 0}
        | changes
    )


def test_an_answer_counts_as_clicked_once_and_only_for_what_it_showed():
    shown = [{"request_id": "r1", "items": [{"product_id": "a"}]}, {"request_id": "r2", "items": [{"product_id": "b"}]}]
    events = [
        {"user": "u", "type": "click", "product_id": "a", "request_id": "r1"},
        {"user": "u", "type": "purchase", "product_id": "a", "request_id": "r1"},
        {"user": "u", "type": "click", "product_id": "a", "request_id": "r2"},
        {"user": "w", "type": "view", "product_id": "new"},
    ]
    found = monitor(window(events, shown), baseline())
    assert (found.clicks, found.exposures, found.users, found.new_products) == (1, 2, 2, 1)
    assert found.version_age_days == 1.0


def test_the_null_distribution_keeps_its_promise_and_a_real_change_is_seen():
    rng = np.random.default_rng(1)
    expected = {"view": 80, "cart": 15, "purchase": 5}
    alarms = 0
    for _ in range(200):
        view, cart, purchase = rng.multinomial(500, [0.8, 0.15, 0.05]).tolist()
        found = drifted({"view": view, "cart": cart, "purchase": purchase}, expected)
        alarms += found.value > found.threshold
    assert alarms <= 8, "at 1 % two are expected"
    changed = drifted({"view": 300, "cart": 150, "purchase": 50}, expected)
    assert changed.value > 2 * changed.threshold


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=6))
def test_distance_is_symmetric_bounded_and_zero_on_equals(pairs):
    a, b = (np.array(c, float) for c in zip(*pairs, strict=True))
    a, b = (a + 1e-9) / (a + 1e-9).sum(), b / b.sum()
    d = distances(a[None], b)[0]
    assert d == pytest.approx(distances(b[None], a)[0])
    assert 0.0 <= d <= 1.0
    assert distances(a[None], a)[0] == pytest.approx(0.0, abs=1e-6)


def test_loss_needs_enough_answers_and_covers_the_truth():
    assert loss(10, 100, 100, 1_000) is None
    assert loss(10, 300, 0, 1_000) is None
    found = loss(80, 1_000, 1_000, 10_000)
    assert found is not None
    assert found.point == pytest.approx(0.2)
    assert found.low < 0.2 < found.high


def report(**changes) -> HealthReport:
    """Nothing wrong."""
    known = {
        "scenario": "recommend",
        "version": "v",
        "since": 0.0,
        "until": 1.0,
        "events": 9,
        "exposures": 9,
        "clicks": 1,
        "users": 3,
        "new_products": 0,
        "drift": {},
        "version_age_days": 1.0,
        "estimated_loss": None,
    }
    return HealthReport(**known | changes)


def test_each_reason_to_train_and_drift_alone_never():
    drift = {"type": Drift(0.5, 0.1)}
    assert retrain(report(version=None), (), 0, 0).retrain
    assert retrain(report(version_age_days=8.0), (), 100, 5).retrain
    assert not retrain(report(version_age_days=8.0), (), 100, 0).retrain, "no new data, nothing to learn"
    assert retrain(report(new_products=10), (), 100, 5).retrain
    assert retrain(report(estimated_loss=Interval(0.2, 0.05, 0.35)), (), 100, 5).retrain
    alone = [report(drift=drift)] * 3
    assert not retrain(alone[-1], alone[:-1], 100, 5).retrain
    unsure = report(drift=drift, estimated_loss=Interval(0.1, -0.1, 0.3))
    assert retrain(unsure, (report(drift=drift), report()), 100, 5).retrain
    assert not retrain(unsure, (report(), report()), 100, 5).retrain, "one day is not persistent"
