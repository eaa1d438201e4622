"""Weights of a linear blend, chosen by NDCG@10 on validation.

Coordinate search over a fixed grid: NDCG has no gradient, and a handful of weights needs no more.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WEIGHT_GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
_NDCG_K = 10
_MAX_ROUNDS = 4
_NEGLIGIBLE_SHARE = 0.003  # relative, of all that is left out


class BlendCandidates:
    """Candidates of users or queries.

    ``features`` (units, candidates, models), ``gains`` (units, candidates), ``ideal`` (units,) DCG.

    Padding candidates have features of minus a million and no gain.
    """

    def __init__(self, features: NDArray[np.float32], gains: NDArray[np.float32], ideal: NDArray[np.float64]) -> None:
        self._count = len(ideal)
        # Where no candidate is worth anything, no weights find anything. A plane for each model is what a search over weights
        # adds up.
        self._units_with_gain = np.flatnonzero((gains > 0).any(axis=1) & (ideal > 0))
        self._features_by_model = np.ascontiguousarray(np.moveaxis(features[self._units_with_gain], 2, 0))
        self._ideal = ideal[self._units_with_gain]
        self._unit_of_relevant, self._relevant_candidate = np.nonzero(gains[self._units_with_gain] > 0)
        self._gain = gains[self._units_with_gain][self._unit_of_relevant, self._relevant_candidate]

    def __len__(self) -> int:
        return self._count

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """(units with something to find, candidates) under ``weights`` (models,)."""
        total = np.zeros(self._features_by_model.shape[1:], np.float32)
        for model in np.flatnonzero(weights):
            total += weights[model] * self._features_by_model[model]
        return total

    def ndcg_with_weight(self, base_scores: NDArray[np.float32], model: int, weight: float) -> float:
        """Mean NDCG@10 where one more model weighs something beside what ``others`` scored."""
        return (
            float(self._ndcg_of_scores(base_scores + np.float32(weight) * self._features_by_model[model]).sum())
            / self._count
        )

    def ndcg(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """NDCG@10 of each unit, ties at half rank."""
        values = np.zeros(self._count)
        values[self._units_with_gain] = self._ndcg_of_scores(self.scores(weights))
        return values

    def _ndcg_of_scores(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        if not scores.size:
            return np.zeros(len(scores))
        k = min(_NDCG_K, scores.shape[1])
        edge = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k]
        # What is worse than the edge is not among the first.
        near = np.flatnonzero(scores[self._unit_of_relevant, self._relevant_candidate] >= edge[self._unit_of_relevant])
        unit = self._unit_of_relevant[near]
        own = scores[unit, self._relevant_candidate[near]][:, None]
        others = scores[unit]
        rank = (others > own).sum(axis=1) + ((others == own).sum(axis=1) - 1) / 2
        gain = np.where(rank <= _NDCG_K - 1, self._gain[near] / np.log2(2.0 + rank), 0.0)
        return np.bincount(unit, gain, minlength=len(scores)) / self._ideal


def pad_candidates(
    features: Sequence[NDArray[np.float32]], gains: Sequence[NDArray[np.float32]], ideal: Sequence[float]
) -> BlendCandidates:
    """Pad the units' (candidates, models) matrices to one block."""
    most = max(len(f) for f in features)
    block = np.zeros((len(features), most, features[0].shape[1]), np.float32)
    gain = np.zeros((len(features), most), np.float32)
    real = np.zeros((len(features), most), bool)
    for row, (f, g) in enumerate(zip(features, gains, strict=True)):
        block[row, : len(f)] = f
        gain[row, : len(g)] = g
        real[row, : len(f)] = True
    block[~real] = -1e6
    return BlendCandidates(block, gain, np.array(ideal))


def choose_weights(candidates: BlendCandidates, start: Sequence[float]) -> tuple[list[float], float]:
    """The weights found and their mean NDCG@10.

    The search climbs from ``start`` and from the best single model, and keeps the higher end: it stops at the first top. Then
    models that are worth next to nothing go.
    """
    singles = np.eye(len(start), dtype=np.float32)
    alone = max(singles, key=lambda w: candidates.ndcg(w).mean())
    best, value = max(
        (_coordinate_ascent(candidates, w) for w in (np.array(start, np.float32), alone)), key=lambda found: found[1]
    )
    best, value = _drop_negligible_models(candidates, best, value)
    return [round(float(w), 6) for w in best], value


def _drop_negligible_models(
    units: BlendCandidates, weights: NDArray[np.float32], value: float
) -> tuple[NDArray[np.float32], float]:
    """Without the models that are worth next to nothing: each costs time in every answer and every run."""
    least = (1.0 - _NEGLIGIBLE_SHARE) * value
    while (weights > 0).sum() > 1:
        tried = [np.where(np.arange(len(weights)) == model, 0.0, weights) for model in np.flatnonzero(weights)]
        without = [float(units.ndcg(w.astype(np.float32)).mean()) for w in tried]
        at = int(np.argmax(without))
        if without[at] < least:
            break
        weights = tried[at].astype(np.float32)
        value = without[at]
    return weights, value


def _coordinate_ascent(units: BlendCandidates, start: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    best = start.copy()
    value = float(units.ndcg(start).mean())
    for _ in range(_MAX_ROUNDS):
        before = value
        for model in range(len(start)):
            others = best.copy()
            others[model] = 0.0
            scores = units.scores(others)
            for weight in WEIGHT_GRID:
                if (weight or others.any()) and (found := units.ndcg_with_weight(scores, model, weight)) > value + 1e-6:
                    best[model] = weight
                    value = found
        if value == before:
            break
    return best, value
