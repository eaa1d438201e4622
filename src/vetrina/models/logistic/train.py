"""Logistic regression by L-BFGS; of three strengths of its L2 penalty rows held out by chance choose one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingData, TrainingPlan
from vetrina.layers.random_split import held_out_mask

L2_PENALTIES = (1e-3, 1e-4, 1e-5)
_MIN_ROWS = 1_000


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``weights.npy`` (columns + 1,), the intercept last."""
    if training_data.encoded_table is None:
        raise ValueError("logistic needs an encoded table")
    x = np.column_stack([training_data.encoded_table.dense, np.ones(len(training_data.encoded_table))]).astype(
        np.float32
    )
    y = training_data.encoded_table.label.astype(np.float32)
    penalty = L2_PENALTIES[0]
    if len(x) >= _MIN_ROWS:
        held = held_out_mask(len(x), plan.seed)
        losses = {p: _loss(_fit_weights(x[~held], y[~held], p), x[held], y[held]) for p in L2_PENALTIES}
        penalty = min(losses, key=lambda p: losses[p])
    weights = _fit_weights(x, y, penalty)
    np.save(into / "weights.npy", weights)
    return {"loss": _loss(weights, x, y), "penalty": penalty}


def _fit_weights(x: Floats, y: Floats, penalty: float) -> NDArray[np.float64]:
    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = (x @ w.astype(np.float32)).astype(np.float64)
        p = 1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))
        small = np.append(w[:-1], 0.0)
        value = np.mean(np.logaddexp(0.0, z) - y * z) + 0.5 * penalty * small @ small
        return float(value), x.T @ (p - y).astype(np.float32) / len(y) + penalty * small

    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x


def _loss(weights: NDArray[np.float64], x: Floats, y: Floats) -> float:
    z = x @ weights
    return float(np.mean(np.logaddexp(0.0, z) - y * z))
