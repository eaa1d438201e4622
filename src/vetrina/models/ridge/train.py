"""Least squares with an L2 penalty (Hoerl & Kennard 1970); rows held out by chance choose its strength."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan
from vetrina.layers.random_split import held_out_mask

L2_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``weights.npy`` (columns + 1,), the intercept last. Needs ``past.rows``."""
    if training_data.encoded_table is None:
        raise ValueError("ridge needs an encoded table")
    x = training_data.encoded_table.dense
    y = training_data.encoded_table.label
    held = held_out_mask(len(x), plan.seed)
    losses = {p: _loss(_fit_weights(x[~held], y[~held], p), x[held], y[held]) for p in L2_PENALTIES}
    penalty = min(losses, key=lambda p: losses[p])
    np.save(into / "weights.npy", _fit_weights(x, y, penalty))
    return {"validation_loss": losses[penalty], "penalty": penalty}


def _fit_weights(x: Floats, y: Floats, penalty: float) -> NDArray[np.float64]:
    """w = (X'X / n + penalty I)^-1 X'y / n, with the columns and the label less their means."""
    middle = x.mean(0, dtype=np.float64)
    mean = float(y.mean())
    # Sums in float32 are faster by half and exact enough: the penalty keeps the system well conditioned.
    square = (x.T @ x).astype(np.float64) / len(x) - np.outer(middle, middle)
    along = (x.T @ y).astype(np.float64) / len(x) - middle * mean
    square[np.diag_indices_from(square)] += penalty
    weights = np.linalg.solve(square, along)
    return np.append(weights, mean - middle @ weights)


def _loss(weights: NDArray[np.float64], x: Floats, y: Floats) -> float:
    return float(np.mean((x @ weights[:-1] + weights[-1] - y) ** 2))
