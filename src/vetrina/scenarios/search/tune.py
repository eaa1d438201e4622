"""Chooses on judged queries what each signal weighs, and whether trees correct the weighted sum."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import Progress, Silent, each
from vetrina.core.types import Evidence, Floats, Plan
from vetrina.metrics import blend
from vetrina.metrics.bootstrap import paired
from vetrina.metrics.ranking import graded_ndcg
from vetrina.scenarios.search.features import names
from vetrina.scenarios.search.online import DEFAULT, IMPERSONAL, RANKED, SIGNALS, TREES, TREES_SCALE, Candidates, Search

_K, _LEVELS, _HIGHEST = 10, 20, 15  # the highest grade that trees tell apart
_LEAST_FOR_TREES, _LEAST_FOR_WEIGHTS, _LEVEL = 60, 20, 0.8
Judged = tuple[NDArray[np.int32], Floats]  # items and grades of one query


def tune(
    folder: Path, evidence: Evidence, plan: Plan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Weights of the signals; without judged queries the default. Writes TREES where they were shown to order better."""
    queries = evidence.judgments.by_query() if evidence.judgments else {}
    queries = {query: judged for query, judged in queries.items() if (judged[1] > 0).any()}
    if len(queries) < _LEAST_FOR_WEIGHTS:
        return default_weights(()), {"queries": len(queries)}
    opened, progress = Search(folder), progress or Silent()
    nobody = opened.histories.of(None, (), evidence.now)
    asked = [opened.candidates(q, nobody) for q in each(progress, "search: candidates", list(queries))]
    judged = list(queries.values())
    weights, notes = _weights(asked, judged)
    opened.weights = np.array([weights[s] for s in SIGNALS], np.float32)
    if len(queries) >= _LEAST_FOR_TREES:
        with progress.step("search: trees", 1) as step:
            notes["trees"] = _trees(opened, asked, judged, folder)
            step.advance()
    return {"search": weights}, {**notes, "queries": len(queries)}


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What is used where nothing can be measured."""
    return {"search": dict(DEFAULT)}


def _weights(asked: Sequence[Candidates], judged: Sequence[Judged]) -> tuple[dict[str, float], dict[str, Any]]:
    ideals: list[float] = []
    for _, grades in judged:
        best = np.sort(np.exp2(grades) - 1)[::-1][:_K]
        ideals.append(float((best / np.log2(2.0 + np.arange(len(best)))).sum()))
    gains = [(np.exp2(_grades(c, j)) - 1).astype(np.float32) for c, j in zip(asked, judged, strict=True)]
    units = blend.stack([c.signals[:, :IMPERSONAL] for c in asked], gains, ideals)
    start = [DEFAULT[s] for s in SIGNALS[:IMPERSONAL]]
    chosen, value = blend.choose(units, start)
    usual = units.ndcg(np.array(start, np.float32))
    found = units.ndcg(np.array(chosen, np.float32))
    # A grid always finds something on the very queries it looks at: at nineteen in twenty, or the default knows better.
    if paired(found, usual).low <= 0:
        chosen, value = start, float(usual.mean())
    alone = {s: float(units.ndcg(row).mean()) for s, row in zip(SIGNALS, _one_each(), strict=False)}
    weights = DEFAULT | dict(zip(SIGNALS, chosen, strict=False))  # nobody judges for one shopper
    return weights, {"validation_ndcg": value, "default_ndcg": float(usual.mean()), "alone": alone}


def _trees(opened: Search, asked: Sequence[Candidates], judged: Sequence[Judged], folder: Path) -> dict[str, Any]:
    """LambdaMART on top of the weighted sum, kept if it orders lists that it has not seen better."""
    from vetrina.layers import lambdamart, tree_ensemble

    sizes = np.array([len(c.items) for c in asked], np.int64)
    weighed = [c.signals @ opened.weights for c in asked]
    start = TREES_SCALE * np.concatenate(weighed)
    grades = [np.clip(np.rint(_grades(c, j)), 0, _HIGHEST).astype(np.int32) for c, j in zip(asked, judged, strict=True)]
    rows = np.concatenate([opened.features(c) for c in asked])
    learnt = lambdamart.fit(lambdamart.Lists(rows, np.concatenate(grades), sizes, start), _LEVELS, seed=42, threads=2)
    corrected = np.split(start + learnt.crossed, np.cumsum(sizes)[:-1])
    before, after = (_ndcg(asked, scores, judged) for scores in (weighed, corrected))
    # Nine in ten: judged queries are few, the lists were not seen, and the gate judges the whole once more.
    gain = paired(after, before, _LEVEL)
    if gain.low > 0:
        (folder / TREES).parent.mkdir(exist_ok=True)
        tree_ensemble.save(learnt.trees, folder / TREES)
    return {
        "kept": gain.low > 0,
        "count": learnt.trees.num_trees(),
        "crossed_ndcg": float(after.mean()),
        "blend_ndcg": float(before.mean()),
        "gain": [gain.low, gain.point, gain.high],
        "features": tree_ensemble.names_of(learnt.trees, names(SIGNALS[:RANKED])),
    }


def _grades(candidates: Candidates, judged: Judged) -> Floats:
    """(n,) of the candidates; what nobody judged has none."""
    items, grades = judged
    order = np.argsort(items, kind="stable")
    at = np.minimum(np.searchsorted(items[order], candidates.items), len(items) - 1)
    return np.where(items[order][at] == candidates.items, grades[order][at], 0.0).astype(np.float32)


def _ndcg(asked: Sequence[Candidates], scores: Sequence[Floats], judged: Sequence[Judged]) -> NDArray[np.float64]:
    ranked = [c.items[np.lexsort((c.items, -s))] for c, s in zip(asked, scores, strict=True)]
    return np.array([graded_ndcg(r, *j, _K) for r, j in zip(ranked, judged, strict=True)])


def _one_each() -> Floats:
    return np.eye(IMPERSONAL, dtype=np.float32)
