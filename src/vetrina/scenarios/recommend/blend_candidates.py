"""Candidates on which a blend is tuned: the best items of each model for each evaluation unit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vetrina.core.arrays import Floats, Ints
from vetrina.core.progress import Progress
from vetrina.scenarios.recommend.evaluation_units import EvaluationUnit
from vetrina.scenarios.recommend.online import Recommender, top_k

K = 10  # positions of the NDCG that is optimised
_MAX_SCORED_UNITS = 3_000
_CANDIDATES_PER_MODEL = 150  # best items of each model, on which the weights are chosen


@dataclass(frozen=True)
class BlendUnits:
    """A blend, the evaluation units that it is tuned on, and whether only items that are new to the user count."""

    blend: str
    units: Sequence[EvaluationUnit]
    new_items_only: bool


@dataclass(frozen=True)
class ScoredUnit:
    """The best candidates of each model for one evaluation unit: weights are chosen and trees are trained on them.

    Attributes:
        number: index of the unit.
        items: (n,) candidates, in ascending order.
        scores: (n, models) scores with a largest value of 1 over the catalogue.
        gains: (n,) 1 for a target.
        ideal_dcg: best possible DCG@10 of the unit.
    """

    number: int
    items: Ints
    scores: Floats
    gains: Floats
    ideal_dcg: float


def score_units(
    recommender: Recommender, blends: Sequence[BlendUnits], progress: Progress
) -> dict[str, list[ScoredUnit]]:
    """The best candidates of each model by blend, for units that have targets; at most _MAX_SCORED_UNITS, evenly spread.

    Args:
        recommender: scores the units, each once for all blends.
        blends: blends with the same units.
        progress: gets one step.
    """
    units = blends[0].units
    scored: dict[str, list[ScoredUnit]] = {blend.blend: [] for blend in blends}
    step_size = max(1, len(units) // _MAX_SCORED_UNITS)
    selected = range(0, len(units), step_size)[:_MAX_SCORED_UNITS]
    with progress.step(f"blend: {', '.join(scored)}", len(selected)) as step:
        for number in selected:
            step.advance()
            for blend, scored_unit in _score_unit(recommender, number, units[number], blends):
                scored[blend].append(scored_unit)
    return scored


def _score_unit(
    recommender: Recommender, number: int, unit: EvaluationUnit, blends: Sequence[BlendUnits]
) -> list[tuple[str, ScoredUnit]]:
    """The unit's candidates for each blend in which it has targets.

    Args:
        recommender: scores the unit.
        number: index of the unit.
        unit: the unit.
        blends: blends that it belongs to.
    """
    targets = {blend.blend: targets_and_ideal_dcg(unit, blend.new_items_only) for blend in blends}
    if not any(ideal_dcg for _, ideal_dcg in targets.values()):
        return []
    scored: list[tuple[str, ScoredUnit]] = []
    scores = recommender.model_scores(unit.history)
    # Excluding changes the scores in place, so that blends that exclude come last.
    for blend in sorted(blends, key=lambda blend: blend.new_items_only):
        items, ideal_dcg = targets[blend.blend]
        if blend.new_items_only:
            scores[:, unit.history.counts_items] = 0.0
        if ideal_dcg:
            candidates = _top_candidates_per_model(scores)
            gains = np.isin(candidates, items).astype(np.float32)
            scored.append((blend.blend, ScoredUnit(number, candidates, scores[:, candidates].T, gains, ideal_dcg)))
    return scored


def targets_and_ideal_dcg(unit: EvaluationUnit, new_items_only: bool) -> tuple[Ints, float]:
    """The targets in the catalogue (n,), and the best possible DCG@10; 0 without targets."""
    items = unit.items
    n_relevant = unit.n_relevant
    if new_items_only:
        is_repeat = np.isin(items, unit.history.counts_items)
        items = items[~is_repeat]
        n_relevant -= int(is_repeat.sum())
    discounts = np.log2(2.0 + np.arange(min(K, n_relevant)))
    return items, float((1.0 / discounts).sum())


def _top_candidates_per_model(model_scores: Floats) -> Ints:
    """(n,) distinct best items of each model with a score other than 0, from ``model_scores`` (models, items)."""
    best_items = []
    for scores in model_scores:
        best_items.append(top_k(np.where(scores != 0, scores, -np.inf), _CANDIDATES_PER_MODEL))
    return np.unique(np.concatenate(best_items)).astype(np.int32)
