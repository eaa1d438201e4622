"""LambdaMART trees that re-rank the best candidates of a blend, written where they are better in cross-validation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.tree_ensemble.write import feature_importances, write_tree_ensemble
from vetrina.core.arrays import Floats, Ints
from vetrina.core.progress import Progress
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.ranking import lambdamart
from vetrina.scenarios.recommend.blend_candidates import BlendUnits, K, ScoredUnit, targets_and_ideal_dcg
from vetrina.scenarios.recommend.evaluation_units import EvaluationUnit
from vetrina.scenarios.recommend.features import feature_names
from vetrina.scenarios.recommend.online import BLEND_CANDIDATES, CANDIDATES_PER_MODEL, Recommender, top_k

_MIN_UNITS = 500  # with a target among the candidates
_NDCG_TRUNCATION = 20  # positions that LambdaMART optimises
_SEED = 42


@dataclass(frozen=True)
class _RankedUnit:
    """The candidates of one unit: ``features`` (n, columns), ``gains`` (n,) 1 for a target, ``blended`` (n,) scores."""

    features: Floats
    gains: NDArray[np.int32]
    blended: Floats
    ideal_dcg: float


def tree_file(folder: Path, blend: str) -> Path:
    """The file of a blend's trees."""
    return folder / "trees" / f"{blend}.onnx"


def tune_trees(
    recommender: Recommender,
    blend_units: BlendUnits,
    scored_units: Sequence[ScoredUnit],
    folder: Path,
    progress: Progress,
    threads: int,
) -> dict[str, Any] | None:
    """Train trees, and write them if they are better than the blend in cross-validation.

    Args:
        recommender: with the chosen weights of the blend.
        blend_units: the blend and its evaluation units.
        scored_units: those of them whose candidates are scored already.
        folder: folder with the trained models.
        progress: gets two steps.
        threads: threads of the training.

    Returns:
        A report; None where too few units have a target among the candidates.
    """
    blend = blend_units.blend
    units = list(_ranked_units(recommender, blend_units, scored_units, progress))
    if sum(bool(unit.gains.any()) for unit in units) < _MIN_UNITS:
        return None
    sizes = np.array([len(unit.gains) for unit in units], np.int64)
    features = np.concatenate([unit.features for unit in units])
    gains = np.concatenate([unit.gains for unit in units])
    with progress.step(f"trees: {blend}", 1) as step:
        groups = lambdamart.RankingGroups(features, gains, sizes)
        fitted = lambdamart.fit(groups, _NDCG_TRUNCATION, seed=_SEED, threads=threads)
        step.advance()
    ndcg_before = _ndcg(units, [unit.blended for unit in units])
    ndcg_after = _ndcg(units, np.split(fitted.out_of_fold_scores, np.cumsum(sizes)[:-1]))
    gain = paired_difference(ndcg_after, ndcg_before)
    is_better = gain.low > 0
    if is_better:
        file = tree_file(folder, blend)
        file.parent.mkdir(exist_ok=True)
        write_tree_ensemble(fitted.trees, file)
    names = feature_names(tuple(recommender.blend_weights(blend)))
    return {
        "ranked": is_better,
        "trees": fitted.trees.num_trees(),
        "crossed_ndcg": float(ndcg_after.mean()),
        "blend_ndcg": float(ndcg_before.mean()),
        "gain": [gain.low, gain.point, gain.high],
        "features": feature_importances(fitted.trees, names),
    }


def _ranked_units(
    recommender: Recommender, blend_units: BlendUnits, scored_units: Sequence[ScoredUnit], progress: Progress
) -> Iterator[_RankedUnit]:
    """Each unit with a target.

    Args:
        recommender: with the chosen weights of the blend.
        blend_units: the blend and its evaluation units.
        scored_units: those of them whose candidates are scored already; the catalogue is scored for the others.
        progress: gets one step.
    """
    blend = blend_units.blend
    scored_by_number = {scored_unit.number: scored_unit for scored_unit in scored_units}
    with progress.step(f"candidates: {blend}", len(blend_units.units)) as step:
        for number, unit in enumerate(blend_units.units):
            step.advance()
            items, ideal_dcg = targets_and_ideal_dcg(unit, blend_units.new_items_only)
            if not ideal_dcg:
                continue
            if number in scored_by_number:
                candidates, scores, blended = _tree_candidates(recommender, blend, scored_by_number[number])
            else:
                candidates, scores, blended = _catalogue_candidates(recommender, blend_units, unit)
            features = recommender.ranker_features(unit.history, candidates, scores, blended)
            gains = np.isin(candidates, items).astype(np.int32)
            yield _RankedUnit(features, gains, blended, ideal_dcg)


def _catalogue_candidates(
    recommender: Recommender, blend_units: BlendUnits, unit: EvaluationUnit
) -> tuple[Ints, Floats, Floats]:
    """What ``Recommender.candidates`` returns for a unit."""
    exclude_seen = blend_units.new_items_only
    allowed = recommender.allowed_items(blend_units.blend, unit.history, exclude_seen=exclude_seen)
    return recommender.candidates(unit.history, blend_units.blend, allowed)


def _tree_candidates(recommender: Recommender, blend_name: str, scored_unit: ScoredUnit) -> tuple[Ints, Floats, Floats]:
    """What ``Recommender.candidates`` returns, out of the best candidates of each model instead of the whole catalogue."""
    weights = recommender.blend_weights(blend_name)
    columns = [recommender.models.index(model) for model in weights]
    model_scores = np.ascontiguousarray(scored_unit.scores[:, columns].T)
    blended = np.array(list(weights.values()), np.float32) @ model_scores
    best = [top_k(blended, BLEND_CANDIDATES)]
    if len(columns) > 1:
        for scores in model_scores:
            best.append(top_k(np.where(scores > 0, scores, -np.inf), CANDIDATES_PER_MODEL))
    selected = np.unique(np.concatenate(best))
    return scored_unit.items[selected], model_scores[:, selected], blended[selected]


def _ndcg(units: Sequence[_RankedUnit], scores: Sequence[Floats]) -> NDArray[np.float64]:
    """(units,) NDCG@10 of the candidates ranked by ``scores``, of each unit (n,)."""
    discount = 1.0 / np.log2(2.0 + np.arange(K))
    values = []
    for unit, unit_scores in zip(units, scores, strict=True):
        top_gains = unit.gains[np.argsort(-unit_scores, kind="stable")[:K]]
        dcg = float((top_gains * discount[: len(top_gains)]).sum())
        values.append(dcg / unit.ideal_dcg)
    return np.array(values)
