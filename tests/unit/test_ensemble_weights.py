"""Weights of a mean of predictions, on rows whose best weights are known."""

import numpy as np
import pytest

from vetrina.evaluation.classification import log_loss
from vetrina.evaluation.regression import squared_error
from vetrina.model_selection.ensemble_weights import MEAN, WEIGHTED_MEAN, choose_weights, select_greedily, weighted_mean

ROWS = 4_000


def numbers() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A label with two measurements of it, one with twice the error of the other, and noise that says nothing."""
    rng = np.random.default_rng(1)
    label = rng.normal(size=ROWS).astype(np.float32)
    predictions = {
        "fine": label + rng.normal(size=ROWS) * 0.5,
        "coarse": label + rng.normal(size=ROWS),
        "useless": rng.normal(size=ROWS) * 3,
    }
    return label, predictions


def test_weights_are_inverse_to_the_error_and_a_useless_model_gets_none():
    label, predictions = numbers()
    ensemble = choose_weights(label, predictions, row_loss=squared_error)
    # Of independent errors the best weights are in the ratio of 1 / variance: 4 to 1.
    assert ensemble.weights["fine"] == pytest.approx(0.8, abs=0.051)
    assert ensemble.weights["coarse"] == pytest.approx(0.2, abs=0.051)
    assert ensemble.weights["useless"] == 0.0
    assert sum(ensemble.weights.values()) == pytest.approx(1.0)
    assert float(squared_error(label, ensemble.predictions).mean()) == pytest.approx(0.2, abs=0.02)
    assert ensemble.losses[WEIGHTED_MEAN] < ensemble.losses["fine"]
    np.testing.assert_allclose(ensemble.predictions, weighted_mean(predictions, ensemble.weights))


def test_the_better_of_two_classifiers_is_used_alone_where_the_other_adds_nothing():
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.05, 0.95, ROWS).astype(np.float32)
    label = (rng.random(ROWS) < truth).astype(np.float32)
    shuffled = rng.permutation(truth)
    ensemble = choose_weights(label, {"shuffled": shuffled, "truth": truth})
    assert ensemble.weights == {"shuffled": 0.0, "truth": 1.0}
    np.testing.assert_array_equal(ensemble.predictions, truth)


def test_a_model_for_people_to_read_is_never_averaged_and_may_win_alone():
    label, predictions = numbers()
    averaged = choose_weights(label, predictions, ("fine",), squared_error)
    assert averaged.weights == {"fine": 1.0, "coarse": 0.0, "useless": 0.0}
    without = choose_weights(label, predictions, ("coarse",), squared_error)
    assert without.weights == {"fine": 1.0, "coarse": 0.0, "useless": 0.0}


def test_models_that_are_equally_good_are_averaged_evenly():
    """Weights that follow the chance of two hundred rows lose to equal ones on other rows."""
    rng = np.random.default_rng(8)
    label = rng.normal(size=200)
    predictions = {str(number): label + rng.normal(size=200) for number in range(4)}
    ensemble = choose_weights(label, predictions, row_loss=squared_error)
    assert ensemble.losses[MEAN] < ensemble.losses[WEIGHTED_MEAN]
    assert set(ensemble.weights.values()) == {0.25}


def test_the_loss_of_weights_is_of_rows_that_its_weights_were_not_chosen_on():
    """Forty models that say nothing about twelve rows: some mean of them fits these rows, but no others."""
    rng = np.random.default_rng(3)
    label = rng.normal(size=12)
    predictions = {str(number): rng.normal(size=12) for number in range(40)}
    weights = select_greedily(label, predictions, squared_error)
    fitted = float(squared_error(label, weighted_mean(predictions, weights)).mean())
    ensemble = choose_weights(label, predictions, row_loss=squared_error)
    assert ensemble.losses[WEIGHTED_MEAN] > 2 * fitted


def test_equal_models_need_one_of_them():
    label = np.array([1.0, 0.0, 1.0, 0.0], np.float32)
    same = np.array([0.7, 0.2, 0.6, 0.4], np.float32)
    assert select_greedily(label, {"a": same, "b": same}, log_loss) == {"a": 1.0, "b": 0.0}
