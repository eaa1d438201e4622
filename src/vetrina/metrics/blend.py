"""Weights of a linear blend, chosen by NDCG@10 on validation.

Coordinate search over a fixed grid: NDCG has no gradient, and a handful of weights needs no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
_K = 10
_ROUNDS = 4
_NEXT_TO_NOTHING = 0.003  # relative, of all that is left out


@dataclass(frozen=True)
class Units:
    """Candidates of users or queries.

    ``features`` (units, candidates, models), ``gains`` (units, candidates), ``ideal`` (units,) DCG.

    Padding candidates have features of minus a million and no gain.
    """

    features: NDArray[np.float32]
    gains: NDArray[np.float32]
    ideal: NDArray[np.float64]


def stack(
    features: Sequence[NDArray[np.float32]], gains: Sequence[NDArray[np.float32]], ideal: Sequence[float]
) -> Units:
    """Pad the units' (candidates, models) matrices to one block."""
    most = max(len(f) for f in features)
    block = np.zeros((len(features), most, features[0].shape[1]), np.float32)
    gain = np.zeros((len(features), most), np.float32)
    real = np.zeros((len(features), most), bool)
    for row, (f, g) in enumerate(zip(features, gains, strict=True)):
        block[row, : len(f)], gain[row, : len(g)], real[row, : len(f)] = f, g, True
    block[~real] = -1e6
    return Units(block, gain, np.array(ideal))


def ndcg_of(units: Units, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """NDCG@10 of each unit under ``weights`` (models,)."""
    scores = units.features @ weights
    k = min(_K, scores.shape[1])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable"), 1)
    gains = np.take_along_axis(units.gains, order, 1)
    dcg = (gains / np.log2(2.0 + np.arange(k))).sum(1)
    return np.divide(dcg, units.ideal, out=np.zeros(len(dcg)), where=units.ideal > 0)


def choose(units: Units, start: Sequence[float]) -> tuple[list[float], float]:
    """The weights found and their mean NDCG@10.

    The search climbs from ``start`` and from the best single model, and keeps the higher end: it stops at the first top. Then
    models that are worth next to nothing go.
    """
    singles = np.eye(len(start), dtype=np.float32)
    alone = max(singles, key=lambda w: ndcg_of(units, w).mean())
    best, value = max((_climb(units, w) for w in (np.array(start, np.float32), alone)), key=lambda found: found[1])
    best, value = _fewer(units, best, value)
    return [round(float(w), 6) for w in best], value


def _fewer(units: Units, weights: NDArray[np.float32], value: float) -> tuple[NDArray[np.float32], float]:
    """Without the models that are worth next to nothing: each costs time in every answer and every run."""
    least = (1.0 - _NEXT_TO_NOTHING) * value
    while (weights > 0).sum() > 1:
        tried = [np.where(np.arange(len(weights)) == model, 0.0, weights) for model in np.flatnonzero(weights)]
        without = [float(ndcg_of(units, w.astype(np.float32)).mean()) for w in tried]
        at = int(np.argmax(without))
        if without[at] < least:
            break
        weights, value = tried[at].astype(np.float32), without[at]
    return weights, value


def _climb(units: Units, start: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    best, value = start.copy(), float(ndcg_of(units, start).mean())
    for _ in range(_ROUNDS):
        before = value
        for model in range(len(start)):
            for weight in GRID:
                tried = best.copy()
                tried[model] = weight
                if not tried.any() or (found := float(ndcg_of(units, tried).mean())) <= value + 1e-6:
                    continue
                best, value = tried, found
        if value == before:
            break
    return best, value
