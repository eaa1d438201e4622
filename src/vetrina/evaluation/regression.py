"""Regression metrics: RMSE, MAE, R2 and mean error."""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.evaluation_data import Interval

Floats = NDArray[np.floating]


def squared_error(label: Floats, predicted: Floats) -> NDArray[np.float64]:
    """Return (label - predicted)^2 of each row (n,)."""
    return (label.astype(np.float64) - predicted) ** 2


def regression_metrics(label: Floats, predicted: Floats, repeats: int = 2_000) -> dict[str, Interval]:
    """Return RMSE, MAE, R2 and mean error by name, with 95 % bootstrap intervals over rows, in the label's own unit.

    R2 = 1 - sum (y - s)^2 / sum (y - mean y)^2: 0 for a constant prediction of the mean, 1 for a perfect one.

    Args:
        label: (n,) labels.
        predicted: (n,) predicted labels.
        repeats: Number of bootstrap resamples (seed 42).
    """

    def metric_values(rows: NDArray[np.intp] | slice) -> list[float]:
        y = label[rows]
        error = predicted[rows] - label[rows]
        variance = float(((y - y.mean()) ** 2).mean())
        mean_squared_error = float((error**2).mean())
        r2 = 0.0
        if variance:
            r2 = 1.0 - mean_squared_error / variance
        return [mean_squared_error**0.5, float(np.abs(error).mean()), r2, float(error.mean())]

    n_rows = len(label)
    rng = np.random.default_rng(42)
    resampled = np.array([metric_values(rng.integers(0, n_rows, n_rows)) for _ in range(repeats)])
    lows, highs = np.quantile(resampled, [0.025, 0.975], axis=0)
    names = ("RMSE", "MAE", "R2", "mean error")
    points = metric_values(slice(None))
    return {
        name: Interval(point, float(low), float(high))
        for name, point, low, high in zip(names, points, lows, highs, strict=True)
    }
