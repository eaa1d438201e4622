"""Ridge regression (Hoerl and Kennard 1970), its penalty chosen on held-out rows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan, TrainNotes
from vetrina.data.random_split import held_out_mask

L2_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``weights.npy`` (columns + 1,), the intercept last.

    Args:
        training_data: Needs the encoded table.
        plan: Its seed decides on the held-out rows.
        into: The output folder.
        progress: Not used.

    Returns:
        Report: the validation loss and the chosen penalty.
    """
    if training_data.encoded_table is None:
        raise ValueError("ridge needs an encoded table")
    x = training_data.encoded_table.dense
    y = training_data.encoded_table.label
    is_held_out = held_out_mask(len(x), plan.seed)
    losses: dict[float, float] = {}
    for penalty in L2_PENALTIES:
        weights = _fit_weights(x[~is_held_out], y[~is_held_out], penalty)
        losses[penalty] = _loss(weights, x[is_held_out], y[is_held_out])
    best_penalty = min(losses, key=lambda penalty: losses[penalty])
    np.save(into / "weights.npy", _fit_weights(x, y, best_penalty))
    return TrainNotes(report={"validation_loss": losses[best_penalty], "penalty": best_penalty})


def _fit_weights(x: Floats, y: Floats, penalty: float) -> NDArray[np.float64]:
    """w = (X'X / n + penalty I)^-1 X'y / n with centred columns and label, and the intercept last."""
    column_means = x.mean(0, dtype=np.float64)
    label_mean = float(y.mean())
    # Sums in float32 are faster by half and exact enough: the penalty keeps the system well conditioned.
    covariance = (x.T @ x).astype(np.float64) / len(x) - np.outer(column_means, column_means)
    label_covariance = (x.T @ y).astype(np.float64) / len(x) - column_means * label_mean
    covariance[np.diag_indices_from(covariance)] += penalty
    weights = np.linalg.solve(covariance, label_covariance)
    intercept = label_mean - column_means @ weights
    return np.append(weights, intercept)


def _loss(weights: NDArray[np.float64], x: Floats, y: Floats) -> float:
    """Mean squared error."""
    errors = x @ weights[:-1] + weights[-1] - y
    return float(np.mean(errors**2))
