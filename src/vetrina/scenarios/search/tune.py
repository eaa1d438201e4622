"""Chooses on judged queries what each signal weighs, and whether trees correct the weighted sum."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import NoProgress, Progress, track
from vetrina.core.types import EvaluationData, Floats, TrainingPlan
from vetrina.metrics import blend
from vetrina.metrics.bootstrap import paired_difference
from vetrina.metrics.ranking import graded_ndcg
from vetrina.scenarios.search.features import feature_names
from vetrina.scenarios.search.online import (
    BLEND_SCALE_FOR_TREES,
    DEFAULT_WEIGHTS,
    N_NON_PERSONAL_SIGNALS,
    N_RANKER_SIGNALS,
    SIGNALS,
    TREES_FILE,
    Candidates,
    Searcher,
)

# the highest grade that trees tell apart
_K = 10
_NDCG_TRUNCATION = 20
_MAX_GRADE = 15
_MIN_QUERIES_FOR_TREES = 60
_MIN_QUERIES_FOR_WEIGHTS = 20
_TREES_CONFIDENCE = 0.8
JudgedItems = tuple[NDArray[np.int32], Floats]  # items and grades of one query


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Weights of the signals; without judged queries the default. Writes TREES where they were shown to order better."""
    queries = evaluation_data.judgments.by_query() if evaluation_data.judgments else {}
    queries = {query: judged for query, judged in queries.items() if (judged[1] > 0).any()}
    if len(queries) < _MIN_QUERIES_FOR_WEIGHTS:
        return default_weights(()), {"queries": len(queries)}
    opened = Searcher(folder)
    progress = progress or NoProgress()
    nobody = opened.histories.history_of(None, (), evaluation_data.now)
    asked = [opened.candidates(q, nobody) for q in track(progress, "search: candidates", list(queries))]
    judged = list(queries.values())
    weights, notes = _choose_weights(asked, judged)
    opened.weights = np.array([weights[s] for s in SIGNALS], np.float32)
    if len(queries) >= _MIN_QUERIES_FOR_TREES:
        with progress.step("search: trees", 1) as step:
            notes["trees"] = _fit_trees(opened, asked, judged, folder)
            step.advance()
    return {"search": weights}, {**notes, "queries": len(queries)}


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What is used where nothing can be measured."""
    return {"search": dict(DEFAULT_WEIGHTS)}


def _choose_weights(
    candidates: Sequence[Candidates], judged: Sequence[JudgedItems]
) -> tuple[dict[str, float], dict[str, Any]]:
    ideals: list[float] = []
    for _, grades in judged:
        best = np.sort(np.exp2(grades) - 1)[::-1][:_K]
        ideals.append(float((best / np.log2(2.0 + np.arange(len(best)))).sum()))
    gains = [(np.exp2(_candidate_grades(c, j)) - 1).astype(np.float32) for c, j in zip(candidates, judged, strict=True)]
    units = blend.pad_candidates([c.signals[:, :N_NON_PERSONAL_SIGNALS] for c in candidates], gains, ideals)
    start = [DEFAULT_WEIGHTS[s] for s in SIGNALS[:N_NON_PERSONAL_SIGNALS]]
    chosen, value = blend.choose_weights(units, start)
    usual = units.ndcg(np.array(start, np.float32))
    found = units.ndcg(np.array(chosen, np.float32))
    # A grid always finds something on the very queries it looks at: at nineteen in twenty, or the default knows better.
    if paired_difference(found, usual).low <= 0:
        chosen = start
        value = float(usual.mean())
    alone = {s: float(units.ndcg(row).mean()) for s, row in zip(SIGNALS, _single_signal_weights(), strict=False)}
    weights = DEFAULT_WEIGHTS | dict(zip(SIGNALS, chosen, strict=False))  # nobody judges for one shopper
    return weights, {"validation_ndcg": value, "default_ndcg": float(usual.mean()), "alone": alone}


def _fit_trees(
    searcher: Searcher, candidates: Sequence[Candidates], judged: Sequence[JudgedItems], folder: Path
) -> dict[str, Any]:
    """LambdaMART on top of the weighted sum, kept if it orders lists that it has not seen better."""
    from vetrina.layers import lambdamart, tree_ensemble

    sizes = np.array([len(c.items) for c in candidates], np.int64)
    weighed = [c.signals @ searcher.weights for c in candidates]
    start = BLEND_SCALE_FOR_TREES * np.concatenate(weighed)
    grades = [
        np.clip(np.rint(_candidate_grades(c, j)), 0, _MAX_GRADE).astype(np.int32)
        for c, j in zip(candidates, judged, strict=True)
    ]
    rows = np.concatenate([searcher.ranker_features(c) for c in candidates])
    learnt = lambdamart.fit(
        lambdamart.RankingGroups(rows, np.concatenate(grades), sizes, start), _NDCG_TRUNCATION, seed=42, threads=2
    )
    corrected = np.split(start + learnt.out_of_fold_scores, np.cumsum(sizes)[:-1])
    before, after = (_ndcg(candidates, scores, judged) for scores in (weighed, corrected))
    # Nine in ten: judged queries are few, the lists were not seen, and the gate judges the whole once more.
    gain = paired_difference(after, before, _TREES_CONFIDENCE)
    if gain.low > 0:
        (folder / TREES_FILE).parent.mkdir(exist_ok=True)
        tree_ensemble.save(learnt.trees, folder / TREES_FILE)
    return {
        "kept": gain.low > 0,
        "count": learnt.trees.num_trees(),
        "crossed_ndcg": float(after.mean()),
        "blend_ndcg": float(before.mean()),
        "gain": [gain.low, gain.point, gain.high],
        "features": tree_ensemble.feature_importances(learnt.trees, feature_names(SIGNALS[:N_RANKER_SIGNALS])),
    }


def _candidate_grades(candidates: Candidates, judged: JudgedItems) -> Floats:
    """(n,) of the candidates; what nobody judged has none."""
    items, grades = judged
    order = np.argsort(items, kind="stable")
    at = np.minimum(np.searchsorted(items[order], candidates.items), len(items) - 1)
    return np.where(items[order][at] == candidates.items, grades[order][at], 0.0).astype(np.float32)


def _ndcg(
    candidates: Sequence[Candidates], scores: Sequence[Floats], judged: Sequence[JudgedItems]
) -> NDArray[np.float64]:
    ranked = [c.items[np.lexsort((c.items, -s))] for c, s in zip(candidates, scores, strict=True)]
    return np.array([graded_ndcg(r, *j, _K) for r, j in zip(ranked, judged, strict=True)])


def _single_signal_weights() -> Floats:
    return np.eye(N_NON_PERSONAL_SIGNALS, dtype=np.float32)
