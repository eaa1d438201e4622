"""Weights of a linear blend of models, chosen by coordinate search on validation NDCG@10.

The search runs over a fixed grid: NDCG has no gradient, and a handful of weights needs no more.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WEIGHT_GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
_NDCG_K = 10
_MAX_ROUNDS = 4  # passes over all models
_MIN_GAIN = 1e-6  # of mean NDCG, by which a weight must beat the best so far
_NEGLIGIBLE_SHARE = 0.003  # of the mean NDCG, that all dropped models together may cost
_PADDING_SCORE = -1e6


class BlendCandidates:
    """Candidates of evaluation units (users or queries) with each model's score of them.

    Args:
        features: (units, candidates, models) model scores; padding candidates have minus a million.
        gains: (units, candidates) gain of each candidate; padding candidates have none.
        ideal: (units,) DCG of the best possible list.
    """

    def __init__(
        self,
        features: NDArray[np.float32],
        gains: NDArray[np.float32],
        ideal: NDArray[np.float64],
    ) -> None:
        self._count = len(ideal)
        # A unit without a relevant candidate has an NDCG of 0 under all weights: it need not be scored.
        self._units_with_gain = np.flatnonzero((gains > 0).any(axis=1) & (ideal > 0))
        gains_with_relevant = gains[self._units_with_gain]
        # (models, units, candidates): a search over weights adds up one contiguous plane a model.
        self._features_by_model = np.ascontiguousarray(np.moveaxis(features[self._units_with_gain], 2, 0))
        self._ideal = ideal[self._units_with_gain]
        self._unit_of_relevant, self._relevant_candidate = np.nonzero(gains_with_relevant > 0)
        self._gain = gains_with_relevant[self._unit_of_relevant, self._relevant_candidate]

    def __len__(self) -> int:
        return self._count

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return blended scores (units with a relevant candidate, candidates) under ``weights`` (models,)."""
        total = np.zeros(self._features_by_model.shape[1:], np.float32)
        for model in np.flatnonzero(weights):
            total += weights[model] * self._features_by_model[model]
        return total

    def ndcg_with_weight(self, base_scores: NDArray[np.float32], model: int, weight: float) -> float:
        """Return the mean NDCG@10 when ``model`` is added with ``weight`` to a blend of the other models.

        Args:
            base_scores: What ``scores`` returned for the weights of the other models.
            model: Number of the model that is added.
            weight: Its weight.
        """
        blended = base_scores + np.float32(weight) * self._features_by_model[model]
        return float(self._ndcg_of_scores(blended).sum()) / self._count

    def ndcg(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return NDCG@10 of each unit (units,), tied candidates at their average rank."""
        values = np.zeros(self._count)
        values[self._units_with_gain] = self._ndcg_of_scores(self.scores(weights))
        return values

    def _ndcg_of_scores(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        if not scores.size:
            return np.zeros(len(scores))
        n_candidates = scores.shape[1]
        k = min(_NDCG_K, n_candidates)
        kth_best = np.partition(scores, n_candidates - k, axis=1)[:, -k]
        # Relevant candidates that score below the k-th best are not in the top k and gain nothing.
        relevant_scores = scores[self._unit_of_relevant, self._relevant_candidate]
        in_top = np.flatnonzero(relevant_scores >= kth_best[self._unit_of_relevant])
        unit = self._unit_of_relevant[in_top]
        own_score = relevant_scores[in_top][:, None]
        unit_scores = scores[unit]
        n_above = (unit_scores > own_score).sum(axis=1)
        n_tied = (unit_scores == own_score).sum(axis=1) - 1
        rank = n_above + n_tied / 2  # from 0
        discounted_gain = self._gain[in_top] / np.log2(2.0 + rank)
        gain = np.where(rank <= _NDCG_K - 1, discounted_gain, 0.0)
        return np.bincount(unit, gain, minlength=len(scores)) / self._ideal


def pad_candidates(
    features: Sequence[NDArray[np.float32]],
    gains: Sequence[NDArray[np.float32]],
    ideal: Sequence[float],
) -> BlendCandidates:
    """Return the candidates of all units, padded to the longest list.

    Args:
        features: Model scores (candidates, models) of each unit.
        gains: Gains (candidates,) of each unit.
        ideal: DCG of the best possible list of each unit.
    """
    n_units = len(features)
    n_models = features[0].shape[1]
    longest = max(len(unit_features) for unit_features in features)
    padded_features = np.zeros((n_units, longest, n_models), np.float32)
    padded_gains = np.zeros((n_units, longest), np.float32)
    is_candidate = np.zeros((n_units, longest), bool)
    for unit, (unit_features, unit_gains) in enumerate(zip(features, gains, strict=True)):
        padded_features[unit, : len(unit_features)] = unit_features
        padded_gains[unit, : len(unit_gains)] = unit_gains
        is_candidate[unit, : len(unit_features)] = True
    padded_features[~is_candidate] = _PADDING_SCORE
    return BlendCandidates(padded_features, padded_gains, np.array(ideal))


def choose_weights(candidates: BlendCandidates, start: Sequence[float]) -> tuple[list[float], float]:
    """Return the best weights (models,) and their mean NDCG@10.

    Coordinate ascent stops at the first local maximum, so it runs twice, from ``start`` and from the best single model,
    and the better result stays. Then models whose removal costs next to nothing are dropped.
    """
    single_models = np.eye(len(start), dtype=np.float32)
    best_single = max(single_models, key=lambda weights: candidates.ndcg(weights).mean())
    weights, value = _coordinate_ascent(candidates, np.array(start, np.float32))
    other_weights, other_value = _coordinate_ascent(candidates, best_single)
    if other_value > value:
        weights = other_weights
        value = other_value
    weights, value = _drop_negligible_models(candidates, weights, value)
    return [round(float(weight), 6) for weight in weights], value


def _drop_negligible_models(
    candidates: BlendCandidates, weights: NDArray[np.float32], value: float
) -> tuple[NDArray[np.float32], float]:
    """Drop models that add next to nothing: each costs time in every answer and every training run."""
    least_value = (1.0 - _NEGLIGIBLE_SHARE) * value
    model_numbers = np.arange(len(weights))
    while (weights > 0).sum() > 1:
        trials = [np.where(model_numbers == model, 0.0, weights) for model in np.flatnonzero(weights)]
        trial_values = [float(candidates.ndcg(trial.astype(np.float32)).mean()) for trial in trials]
        best = int(np.argmax(trial_values))
        if trial_values[best] < least_value:
            break
        weights = trials[best].astype(np.float32)
        value = trial_values[best]
    return weights, value


def _coordinate_ascent(candidates: BlendCandidates, start: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return the weights and the mean NDCG@10 of the local maximum reached from ``start``, one weight at a time."""
    best = start.copy()
    value = float(candidates.ndcg(start).mean())
    for _ in range(_MAX_ROUNDS):
        value_before = value
        for model in range(len(start)):
            other_weights = best.copy()
            other_weights[model] = 0.0
            base_scores = candidates.scores(other_weights)
            for weight in WEIGHT_GRID:
                if weight == 0.0 and not other_weights.any():
                    continue  # a blend of no model
                trial_value = candidates.ndcg_with_weight(base_scores, model, weight)
                if trial_value > value + _MIN_GAIN:
                    best[model] = weight
                    value = trial_value
        if value == value_before:
            break
    return best, value
