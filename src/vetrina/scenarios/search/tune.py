"""Tuning of search on judged queries: signal weights, and LambdaMART where it ranks better."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import NoProgress, Progress, track
from vetrina.core.training_plan import TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.ranking import graded_ndcg
from vetrina.model_selection import blend
from vetrina.scenarios.search.features import feature_names
from vetrina.scenarios.search.online import (
    BLEND_SCALE_FOR_TREES,
    DEFAULT_WEIGHTS,
    MODEL_OF_SIGNAL,
    N_NON_PERSONAL_SIGNALS,
    N_RANKER_SIGNALS,
    SIGNALS,
    TREES_FILE,
    Candidates,
    Searcher,
)
from vetrina.scenarios.search.scenario import RECIPE

_K = 10
_NDCG_TRUNCATION = 20  # positions that LambdaMART optimises
_MAX_GRADE = 15  # highest grade that the trees distinguish
_MIN_QUERIES_FOR_TREES = 60
_MIN_QUERIES_FOR_WEIGHTS = 20
_TREES_CONFIDENCE = 0.8  # of the two-sided interval of the gain of the trees
JudgedItems = tuple[NDArray[np.int32], Floats]  # items and grades of one query


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> TuningResult:
    """Weights of the signals. Writes TREES_FILE where trees are shown to rank better than the weights alone.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its judgments are used.
        plan: its threads are used.
        progress: gets the steps of candidates and trees.

    Returns:
        Weights of the blend "search", and the NDCG of weights, signals and trees; the default weights where there are too few
        judged queries.
    """
    queries = {}
    if evaluation_data.judgments:
        queries = evaluation_data.judgments.by_query()
    queries = {query: judged for query, judged in queries.items() if (judged[1] > 0).any()}
    if len(queries) < _MIN_QUERIES_FOR_WEIGHTS:
        return TuningResult(default_weights(RECIPE.models), report={"queries": len(queries)})
    searcher = Searcher(folder)
    progress = progress or NoProgress()
    no_history = searcher.histories.history_of(None, (), evaluation_data.now)
    tracked_queries = track(progress, "search: candidates", list(queries))
    candidates = [searcher.candidates(searcher.correct(query), no_history) for query in tracked_queries]
    judged = list(queries.values())
    weights, report = _choose_weights(candidates, judged)
    searcher.weights = np.array([weights[signal] for signal in SIGNALS], np.float32)
    if len(queries) >= _MIN_QUERIES_FOR_TREES:
        with progress.step("search: trees", 1) as step:
            report["trees"] = _fit_trees(searcher, candidates, judged, folder, plan.threads)
            step.advance()
    report["queries"] = len(queries)
    return TuningResult({"search": weights}, report=report)


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights without enough judged queries, of the signals that these models give."""
    weights = dict(DEFAULT_WEIGHTS)
    for signal, model in MODEL_OF_SIGNAL.items():
        if model not in models:
            del weights[signal]
    return {"search": weights}


def _choose_weights(
    candidates: Sequence[Candidates], judged: Sequence[JudgedItems]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Weights of all signals with the best NDCG@10, and a report; the personal signals keep their default weights.

    Args:
        candidates: of each query.
        judged: items and grades of each query.
    """
    ideal_dcgs: list[float] = []
    for _, grades in judged:
        best_gains = np.sort(np.exp2(grades) - 1)[::-1][:_K]
        discounts = np.log2(2.0 + np.arange(len(best_gains)))
        ideal_dcgs.append(float((best_gains / discounts).sum()))
    gains = []
    for of_query, judged_items in zip(candidates, judged, strict=True):
        gains.append((np.exp2(_candidate_grades(of_query, judged_items)) - 1).astype(np.float32))
    signals = [of_query.signals[:, :N_NON_PERSONAL_SIGNALS] for of_query in candidates]
    units = blend.pad_candidates(signals, gains, ideal_dcgs)
    default = [DEFAULT_WEIGHTS[signal] for signal in SIGNALS[:N_NON_PERSONAL_SIGNALS]]
    chosen, value = blend.choose_weights(units, default)
    default_ndcg = units.ndcg(np.array(default, np.float32))
    chosen_ndcg = units.ndcg(np.array(chosen, np.float32))
    # A search always finds better weights on the queries that it is run on: without a significant gain at 95 % the default stays.
    if paired_difference(chosen_ndcg, default_ndcg).low <= 0:
        chosen = default
        value = float(default_ndcg.mean())
    alone = {}
    for signal, single_weights in zip(SIGNALS, _single_signal_weights(), strict=False):
        alone[signal] = float(units.ndcg(single_weights).mean())
    weights = DEFAULT_WEIGHTS | dict(zip(SIGNALS, chosen, strict=False))  # judgments are not made for single users
    return weights, {"validation_ndcg": value, "default_ndcg": float(default_ndcg.mean()), "alone": alone}


def _fit_trees(
    searcher: Searcher,
    candidates: Sequence[Candidates],
    judged: Sequence[JudgedItems],
    folder: Path,
    threads: int,
) -> dict[str, Any]:
    """A report about LambdaMART trees on top of the weighted sum; writes them if they rank better in cross-validation.

    Args:
        searcher: with the chosen weights.
        candidates: of each query.
        judged: items and grades of each query.
        folder: folder with the trained models.
        threads: threads of the training.
    """
    from vetrina.bundle.tree_ensemble.write import feature_importances, write_tree_ensemble
    from vetrina.ranking import lambdamart

    sizes = np.array([len(of_query.items) for of_query in candidates], np.int64)
    weighted_sums = [of_query.signals @ searcher.weights for of_query in candidates]
    initial_scores = BLEND_SCALE_FOR_TREES * np.concatenate(weighted_sums)
    grades = []
    for of_query, judged_items in zip(candidates, judged, strict=True):
        rounded = np.rint(_candidate_grades(of_query, judged_items))
        grades.append(np.clip(rounded, 0, _MAX_GRADE).astype(np.int32))
    features = np.concatenate([searcher.ranker_features(of_query) for of_query in candidates])
    groups = lambdamart.RankingGroups(features, np.concatenate(grades), sizes, initial_scores)
    fitted = lambdamart.fit(groups, _NDCG_TRUNCATION, seed=42, threads=threads)
    corrected_scores = np.split(initial_scores + fitted.out_of_fold_scores, np.cumsum(sizes)[:-1])
    ndcg_before = _ndcg(candidates, weighted_sums, judged)
    ndcg_after = _ndcg(candidates, corrected_scores, judged)
    # A lower confidence than usual: judged queries are few, the scores are out of fold, and the gate evaluates the whole again.
    gain = paired_difference(ndcg_after, ndcg_before, _TREES_CONFIDENCE)
    is_better = gain.low > 0
    if is_better:
        (folder / TREES_FILE).parent.mkdir(exist_ok=True)
        write_tree_ensemble(fitted.trees, folder / TREES_FILE)
    return {
        "kept": is_better,
        "count": fitted.trees.num_trees(),
        "crossed_ndcg": float(ndcg_after.mean()),
        "blend_ndcg": float(ndcg_before.mean()),
        "gain": [gain.low, gain.point, gain.high],
        "features": feature_importances(fitted.trees, feature_names(SIGNALS[:N_RANKER_SIGNALS])),
    }


def _candidate_grades(candidates: Candidates, judged: JudgedItems) -> Floats:
    """(n,) float32 grades of the candidates; 0 for an item that is not judged."""
    items, grades = judged
    order = np.argsort(items, kind="stable")
    sorted_items = items[order]
    at = np.minimum(np.searchsorted(sorted_items, candidates.items), len(items) - 1)
    return np.where(sorted_items[at] == candidates.items, grades[order][at], 0.0).astype(np.float32)


def _ndcg(
    candidates: Sequence[Candidates], scores: Sequence[Floats], judged: Sequence[JudgedItems]
) -> NDArray[np.float64]:
    """(queries,) NDCG@10 of the candidates ranked by their scores."""
    values = []
    for of_query, query_scores, (items, grades) in zip(candidates, scores, judged, strict=True):
        order = np.lexsort((of_query.items, -query_scores))
        values.append(graded_ndcg(of_query.items[order], items, grades, _K))
    return np.array(values)


def _single_signal_weights() -> Floats:
    """One row of weights for each non-personal signal alone."""
    return np.eye(N_NON_PERSONAL_SIGNALS, dtype=np.float32)
