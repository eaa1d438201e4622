"""Probabilities mended by a field, and purchases that have not come yet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation import delays
from vetrina.evaluation.classification import log_loss
from vetrina.model_selection import field_calibration

DAY = 86_400.0


def biased(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Said as if every publisher were the same; on "b" the odds are a quarter of that, and "colour" says nothing."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1.0, 1.0, rows)
    publisher = rng.choice(np.array(["a", "b", "c"], dtype=object), rows)
    truth = 1 / (1 + np.exp(-(odds - np.log(4.0) * (publisher == "b"))))
    label = (rng.random(rows) < truth).astype(float)
    colour = rng.choice(np.array(["red", "blue"], dtype=object), rows)
    return 1 / (1 + np.exp(-odds)), label, {"colour": colour, "publisher": publisher}


def test_the_field_that_is_wrong_is_found_and_mended():
    probability, label, columns = biased(3_000, 1)
    calibration = field_calibration.choose_field_calibration(probability, label, columns)
    assert calibration.name == "publisher"
    shifts = dict(zip(calibration.values, calibration.shifts, strict=True))
    assert shifts["b"] == pytest.approx(-np.log(4.0), abs=0.3)
    assert shifts["a"] == pytest.approx(0.0, abs=0.25)
    other, truth, beside = biased(3_000, 2)
    assert log_loss(truth, calibration.transform(other, beside)).mean() < log_loss(truth, other).mean() - 0.01
    unseen = field_calibration.fit_shifts(probability, label, "publisher", columns["publisher"])
    assert unseen.transform(np.array([0.3]), {"publisher": np.array(["new"], dtype=object)})[0] == pytest.approx(0.3)


def test_nothing_is_mended_where_nothing_is_wrong():
    rng = np.random.default_rng(3)
    probability = rng.uniform(0.05, 0.9, 2_000)
    label = (rng.random(2_000) < probability).astype(float)
    columns = {f"c{n}": rng.choice(np.array(list("abcdefgh"), dtype=object), 2_000) for n in range(5)}
    assert (
        field_calibration.choose_field_calibration(probability, label, columns) == field_calibration.FieldCalibration()
    )
    assert field_calibration.FieldCalibration().transform(probability, columns) == pytest.approx(probability, abs=1e-6)


def clicks(rows: int, days: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ages of clicks, delays of the three in ten that are followed, and which of those were followed by now."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(0, 30 * DAY, rows)
    delay = rng.exponential(days * DAY, rows)
    follows = (rng.random(rows) < 0.3) & (delay < 30 * DAY)
    return age, delay, follows & (delay <= age)


def test_purchases_that_have_not_come_yet_are_counted_as_clicks_that_are_not_over():
    age, delay, seen = clicks(20_000, 5.0, 4)
    estimated = delays.estimate_delays(delay[seen], age[seen])
    assert seen.sum() / len(age) < 0.27  # as it looks
    assert seen.sum() / estimated.observed_share(age).sum() == pytest.approx(0.3, abs=0.015)
    assert estimated.observed_share(np.array([5 * DAY]))[0] == pytest.approx(1 - np.exp(-1), abs=0.03)


@given(st.integers(0, 10_000), st.floats(0.01, 20.0), st.integers(0, 400))
def test_shares_of_delays_rise_from_nothing_to_all(seed, days, rows):
    age, delay, seen = clicks(rows, days, seed)
    estimated = delays.estimate_delays(delay[seen], age[seen])
    share = estimated.observed_share(np.sort(np.append(age, 40 * DAY)))
    assert ((share >= 0) & (share <= 1)).all()
    assert (np.diff(share) >= 0).all()
    assert share[-1] == 1.0
