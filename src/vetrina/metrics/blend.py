"""Weights of a linear blend, chosen by NDCG@10 on validation.

Coordinate search over a fixed grid: NDCG has no gradient, and a handful of weights needs no more.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
_K = 10
_ROUNDS = 4
_NEXT_TO_NOTHING = 0.003  # relative, of all that is left out


class Units:
    """Candidates of users or queries.

    ``features`` (units, candidates, models), ``gains`` (units, candidates), ``ideal`` (units,) DCG.

    Padding candidates have features of minus a million and no gain.
    """

    def __init__(self, features: NDArray[np.float32], gains: NDArray[np.float32], ideal: NDArray[np.float64]) -> None:
        self._count = len(ideal)
        # Where no candidate is worth anything, no weights find anything. A plane for each model is what a search over weights
        # adds up.
        self._hit = np.flatnonzero((gains > 0).any(axis=1) & (ideal > 0))
        self._planes = np.ascontiguousarray(np.moveaxis(features[self._hit], 2, 0))
        self._ideal = ideal[self._hit]
        self._unit, self._wanted = np.nonzero(gains[self._hit] > 0)
        self._gain = gains[self._hit][self._unit, self._wanted]

    def __len__(self) -> int:
        return self._count

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """(units with something to find, candidates) under ``weights`` (models,)."""
        total = np.zeros(self._planes.shape[1:], np.float32)
        for model in np.flatnonzero(weights):
            total += weights[model] * self._planes[model]
        return total

    def with_weight(self, others: NDArray[np.float32], model: int, weight: float) -> float:
        """Mean NDCG@10 where one more model weighs something beside what ``others`` scored."""
        return float(self._found(others + np.float32(weight) * self._planes[model]).sum()) / self._count

    def ndcg(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """NDCG@10 of each unit, ties at half rank."""
        values = np.zeros(self._count)
        values[self._hit] = self._found(self.scores(weights))
        return values

    def _found(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        if not scores.size:
            return np.zeros(len(scores))
        k = min(_K, scores.shape[1])
        edge = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k]
        # What is worse than the edge is not among the first.
        near = np.flatnonzero(scores[self._unit, self._wanted] >= edge[self._unit])
        unit = self._unit[near]
        own, others = scores[unit, self._wanted[near]][:, None], scores[unit]
        rank = (others > own).sum(axis=1) + ((others == own).sum(axis=1) - 1) / 2
        gain = np.where(rank <= _K - 1, self._gain[near] / np.log2(2.0 + rank), 0.0)
        return np.bincount(unit, gain, minlength=len(scores)) / self._ideal


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


def choose(units: Units, start: Sequence[float]) -> tuple[list[float], float]:
    """The weights found and their mean NDCG@10.

    The search climbs from ``start`` and from the best single model, and keeps the higher end: it stops at the first top. Then
    models that are worth next to nothing go.
    """
    singles = np.eye(len(start), dtype=np.float32)
    alone = max(singles, key=lambda w: units.ndcg(w).mean())
    best, value = max((_climb(units, w) for w in (np.array(start, np.float32), alone)), key=lambda found: found[1])
    best, value = _fewer(units, best, value)
    return [round(float(w), 6) for w in best], value


def _fewer(units: Units, weights: NDArray[np.float32], value: float) -> tuple[NDArray[np.float32], float]:
    """Without the models that are worth next to nothing: each costs time in every answer and every run."""
    least = (1.0 - _NEXT_TO_NOTHING) * value
    while (weights > 0).sum() > 1:
        tried = [np.where(np.arange(len(weights)) == model, 0.0, weights) for model in np.flatnonzero(weights)]
        without = [float(units.ndcg(w.astype(np.float32)).mean()) for w in tried]
        at = int(np.argmax(without))
        if without[at] < least:
            break
        weights, value = tried[at].astype(np.float32), without[at]
    return weights, value


def _climb(units: Units, start: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    best, value = start.copy(), float(units.ndcg(start).mean())
    for _ in range(_ROUNDS):
        before = value
        for model in range(len(start)):
            others = best.copy()
            others[model] = 0.0
            scores = units.scores(others)
            for weight in GRID:
                if (weight or others.any()) and (found := units.with_weight(scores, model, weight)) > value + 1e-6:
                    best[model], value = weight, found
        if value == before:
            break
    return best, value
