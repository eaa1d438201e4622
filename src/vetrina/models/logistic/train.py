"""Logistic regression by L-BFGS, its L2 penalty chosen on held-out rows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan, TrainNotes
from vetrina.data.random_split import held_out_mask

L2_PENALTIES = (1e-3, 1e-4, 1e-5)
_MIN_ROWS = 1_000  # rows; with fewer the first penalty is used
_MAX_LOG_ODDS = 30.0  # exp of more says nothing and may overflow


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``weights.npy`` (columns + 1,), the intercept last.

    Args:
        training_data: Needs the encoded table.
        plan: Its seed decides on the held-out rows.
        into: The output folder.
        progress: Not used.

    Returns:
        Report: the loss on all rows and the chosen penalty.
    """
    table = training_data.encoded_table
    if table is None:
        raise ValueError("logistic needs an encoded table")
    x = np.column_stack([table.dense, np.ones(len(table))]).astype(np.float32)
    y = table.label.astype(np.float32)
    penalty = L2_PENALTIES[0]
    if len(x) >= _MIN_ROWS:
        penalty = _choose_penalty(x, y, held_out_mask(len(x), plan.seed))
    weights = _fit_weights(x, y, penalty)
    np.save(into / "weights.npy", weights)
    return TrainNotes(report={"loss": _loss(weights, x, y), "penalty": penalty})


def _choose_penalty(x: Floats, y: Floats, is_held_out: NDArray[np.bool_]) -> float:
    """The penalty of the smallest loss on held-out rows, the first of equals."""
    losses: dict[float, float] = {}
    for penalty in L2_PENALTIES:
        weights = _fit_weights(x[~is_held_out], y[~is_held_out], penalty)
        losses[penalty] = _loss(weights, x[is_held_out], y[is_held_out])
    return min(losses, key=lambda penalty: losses[penalty])


def _fit_weights(x: Floats, y: Floats, penalty: float) -> NDArray[np.float64]:
    """Weights (columns,) for rows (rows, columns) whose last column is 1; the intercept has no penalty."""

    def loss_and_gradient(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_odds = (x @ weights.astype(np.float32)).astype(np.float64)
        probability = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)))
        penalised = np.append(weights[:-1], 0.0)
        cross_entropy = np.mean(np.logaddexp(0.0, log_odds) - y * log_odds)
        loss = cross_entropy + 0.5 * penalty * penalised @ penalised
        gradient = x.T @ (probability - y).astype(np.float32) / len(y) + penalty * penalised
        return float(loss), gradient

    return minimize(loss_and_gradient, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x


def _loss(weights: NDArray[np.float64], x: Floats, y: Floats) -> float:
    """Mean cross-entropy."""
    log_odds = x @ weights
    return float(np.mean(np.logaddexp(0.0, log_odds) - y * log_odds))
