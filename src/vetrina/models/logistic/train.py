"""Logistic regression by L-BFGS with a small L2 penalty."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan

L2 = 1e-3


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``weights.npy`` (columns + 1,), the intercept last."""
    if past.table is None:
        raise ValueError("logistic needs a table")
    x = np.column_stack([*past.table.columns.values(), np.ones(len(past.table))]).astype(np.float64)
    y = past.table.label.astype(np.float64)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ w
        p = 1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))
        penalty = np.append(w[:-1], 0.0)
        value = np.mean(np.logaddexp(0.0, z) - y * z) + 0.5 * L2 * penalty @ penalty
        return float(value), x.T @ (p - y) / len(y) + L2 * penalty

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    np.save(into / "weights.npy", found.x)
    return {"loss": float(found.fun)}
