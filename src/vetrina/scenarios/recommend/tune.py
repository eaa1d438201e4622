"""Chooses on validation: the weights of each blend, whether trees order its best candidates anew, and what is shown again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import NoProgress, Progress
from vetrina.core.types import EvaluationData, Floats, Ints, TrainingPlan
from vetrina.metrics import blend
from vetrina.metrics.bootstrap import paired_difference
from vetrina.scenarios.recommend import evaluation_units
from vetrina.scenarios.recommend.evaluation_units import EvaluationUnit
from vetrina.scenarios.recommend.features import feature_names
from vetrina.scenarios.recommend.online import Recommender

INITIAL_WEIGHTS = {
    "popular": 0.1,
    "repeat": 1.0,
    "lately": 0.1,
    "item_knn": 0.2,
    "sessions": 0.1,
    "graph_filter": 0.1,
    "ease": 0.1,
    "friends": 0.1,
    "sasrec": 0.2,
    "gru": 0.1,
}
_INITIAL_WEIGHT = 0.1  # of a model that has no better one
_MIN_REPEAT_SHARE = 0.05
_MAX_USERS = 3_000
_MAX_SESSIONS = 12_000
_MAX_UNITS_FOR_WEIGHTS = 3_000
_MIN_UNITS_FOR_WEIGHTS = 50
_MIN_UNITS_FOR_TREES = 500
_CANDIDATES_PER_MODEL = 150  # candidates that weights are chosen on: the best of each model
_K = 10
_NDCG_TRUNCATION = 20


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Weights of ``home`` (all products), ``discover`` (only products new to the user) and ``session`` (nobody knows who);
    where friends speak for people, of ``arriving`` (somebody new who has looked at nothing yet).

    Writes ``trees/<blend>.onnx`` where trees were shown to order better than the weights alone, on lists that they had not seen.
    """
    opened = Recommender(folder)
    progress = progress or NoProgress()
    usual = default_weights(opened.models)
    if evaluation_data.targets is None or not evaluation_data.targets.user_ids:
        return usual, {}
    known = [
        u
        for u in evaluation_units.user_units(
            opened.histories, evaluation_data, new_items_only=False, max_users=_MAX_USERS
        )
        if u.is_known
    ]
    visits = evaluation_units.session_units(
        opened.histories, evaluation_data, max_per_user=3, max_sessions=_MAX_SESSIONS if not known else _MAX_USERS
    )
    share = repeat_share(known)
    again = _session_repeat_share(visits)
    exclude = share < _MIN_REPEAT_SHARE
    opened.exclude_seen = exclude
    opened.repeats_in_sessions = again >= _MIN_REPEAT_SHARE
    asked: dict[str, Sequence[EvaluationUnit]] = {"home": known, "discover": known, "session": visits}
    if "arriving" in usual:
        asked["arriving"] = evaluation_units.new_visitor_units(
            opened.histories, evaluation_data, max_visitors=_MAX_USERS
        )
    ranked: dict[str, list[str]] = {}  # the models whose opinions a blend's trees have learnt from
    options = {"exclude_seen": exclude, "session_repeats": again >= _MIN_REPEAT_SHARE, "ranked": ranked}
    weights: dict[str, dict[str, float]] = {}
    notes: dict[str, Any] = {"options": options, "repeat_share": share, "repeat_share_in_visits": again}
    new_only = {
        n: n == "discover" or (n == "home" and exclude) or (n == "session" and again < _MIN_REPEAT_SHARE) for n in asked
    }
    same = () if exclude else ("discover",)
    stacks = _stack_candidates(opened, known, {n: new_only[n] for n in ("home", *same)}, progress)
    for name in asked:
        if name == "discover" and exclude and "home" in weights:
            weights[name], notes[name] = weights["home"], notes.get("home", {})
            continue
        if name not in stacks:
            stacks |= _stack_candidates(opened, asked[name], {name: new_only[name]}, progress)
        found = _choose_weights(opened, name, stacks.pop(name))
        if found is None:
            weights[name] = weights.get("home", usual[name]) if name == "session" else usual[name]
            continue
        weights[name], notes[name] = found
        opened.weights[name] = weights[name]
        if trees := _fit_trees(opened, name, asked[name], new_only[name], folder, progress):
            notes[name] |= trees
            if trees["ranked"]:
                ranked[name] = list(opened.blend_weights(name))
    if exclude and "home" in ranked:
        ranked["discover"] = ranked["home"]
        (folder / "trees/discover.onnx").write_bytes((folder / "trees/home.onnx").read_bytes())
    return weights, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What is used where nothing can be measured: behaviour first, popularity to break ties."""
    home = {m: INITIAL_WEIGHTS.get(m, _INITIAL_WEIGHT) for m in models}
    new = home | {m: 0.0 for m in ("repeat", "lately") if m in models}
    usual = {"home": home, "discover": new, "session": new}
    return usual | (
        {"arriving": {m: float(m in ("popular", "friends")) for m in models}} if "friends" in models else {}
    )


def repeat_share(units: Sequence[EvaluationUnit]) -> float:
    """Share of what known users took next that they had taken before: high for groceries, near nothing for sofas."""
    again = sum(int(np.isin(u.items, u.history.counts_items).sum()) for u in units if len(u.history.counts_items))
    total = sum(len(u.items) for u in units if len(u.history.counts_items))
    return again / total if total else 0.0


def _session_repeat_share(sessions: Sequence[EvaluationUnit]) -> float:
    """Share of visits whose next product was in them before."""
    return float(np.mean([np.isin(u.items, u.history.items).any() for u in sessions])) if sessions else 0.0


def _stack_candidates(
    recommender: Recommender, units: Sequence[EvaluationUnit], blends: Mapping[str, bool], progress: Progress
) -> dict[str, blend.BlendCandidates | None]:
    """Of each blend (True: only what is new to the user) the best candidates of each model; None where few have any to find.

    Blends that ask for the same units have them scored once.
    """
    found: dict[str, list[tuple[Floats, Floats, float]]] = {name: [] for name in blends}
    some = list(units)[:: max(1, len(units) // _MAX_UNITS_FOR_WEIGHTS)][:_MAX_UNITS_FOR_WEIGHTS]
    with progress.step(f"blend: {', '.join(blends)}", len(some)) as step:
        for unit in some:
            step.advance()
            wanted = {name: _targets_and_ideal_dcg(unit, new_only) for name, new_only in blends.items()}
            if not any(ideal for _, ideal in wanted.values()):
                continue
            components = recommender.model_scores(unit.history)
            for name in sorted(blends, key=lambda name: blends[name]):  # what leaves out comes last
                items, ideal = wanted[name]
                if blends[name]:
                    components[:, unit.history.counts_items] = 0.0
                if ideal:
                    candidates = _top_candidates_per_model(components)
                    gains = np.isin(candidates, items).astype(np.float32)
                    found[name].append((components[:, candidates].T, gains, ideal))
    stacks = {name: [list(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    return {
        name: blend.pad_candidates(*stacks[name]) if len(found[name]) >= _MIN_UNITS_FOR_WEIGHTS else None
        for name in blends
    }


def _choose_weights(
    recommender: Recommender, blend_name: str, units: blend.BlendCandidates | None
) -> tuple[dict[str, float], dict[str, Any]] | None:
    """Weights by NDCG@10 over the best candidates of each model, and what they and each model alone reach."""
    if units is None:
        return None
    chosen, value = blend.choose_weights(
        units, [default_weights(recommender.models)[blend_name][m] for m in recommender.models]
    )
    alone = {
        m: float(units.ndcg(row).mean())
        for m, row in zip(recommender.models, _single_model_weights(recommender), strict=True)
    }
    notes = {"validation_ndcg": value, "alone": alone, "units": len(units)}
    return dict(zip(recommender.models, chosen, strict=True)), notes


def _fit_trees(
    recommender: Recommender,
    blend_name: str,
    units: Sequence[EvaluationUnit],
    new_items_only: bool,
    folder: Path,
    progress: Progress,
) -> dict[str, Any] | None:
    """Fits trees over the best candidates of the blend and keeps them if they order lists that they have not seen better."""
    from vetrina.layers import lambdamart, tree_ensemble

    rows: list[Floats] = []
    gains: list[NDArray[np.int32]] = []
    ideals: list[float] = []
    blended: list[Floats] = []
    for unit, candidates, shown, score in _candidate_lists(recommender, blend_name, units, new_items_only, progress):
        items, ideal = _targets_and_ideal_dcg(unit, new_items_only)
        rows.append(shown)
        gains.append(np.isin(candidates, items).astype(np.int32))
        ideals.append(ideal)
        blended.append(score)
    if sum(bool(g.any()) for g in gains) < _MIN_UNITS_FOR_TREES:
        return None
    sizes = np.array([len(g) for g in gains], np.int64)
    lists = lambdamart.RankingGroups(np.concatenate(rows), np.concatenate(gains), sizes)
    with progress.step(f"trees: {blend_name}", 1) as step:
        learnt = lambdamart.fit(lists, _NDCG_TRUNCATION, seed=42, threads=2)
        step.advance()
    before, after = (
        _ndcg(np.split(s, np.cumsum(sizes)[:-1]), gains, ideals)
        for s in (np.concatenate(blended), learnt.out_of_fold_scores)
    )
    gain = paired_difference(after, before)
    kept = gain.low > 0
    if kept:
        (folder / "trees").mkdir(exist_ok=True)
        tree_ensemble.save(learnt.trees, folder / f"trees/{blend_name}.onnx")
    return {
        "ranked": kept,
        "trees": learnt.trees.num_trees(),
        "crossed_ndcg": float(after.mean()),
        "blend_ndcg": float(before.mean()),
        "gain": [gain.low, gain.point, gain.high],
        "features": tree_ensemble.feature_importances(
            learnt.trees, feature_names(tuple(recommender.blend_weights(blend_name)))
        ),
    }


def _candidate_lists(
    recommender: Recommender, blend_name: str, units: Sequence[EvaluationUnit], new_items_only: bool, progress: Progress
) -> Iterator[tuple[EvaluationUnit, Ints, Floats, Floats]]:
    """Of each unit with something to find: the candidates, their features and their blended scores."""
    with progress.step(f"candidates: {blend_name}", len(units)) as step:
        for unit in units:
            step.advance()
            if not _targets_and_ideal_dcg(unit, new_items_only)[1]:
                continue
            allowed = recommender.allowed_items(blend_name, unit.history, exclude_seen=new_items_only)
            candidates, components, score = recommender.candidates(unit.history, blend_name, allowed)
            yield unit, candidates, recommender.ranker_features(unit.history, candidates, components, score), score


def _targets_and_ideal_dcg(unit: EvaluationUnit, new_items_only: bool) -> tuple[Ints, float]:
    """What is to be found, and the best DCG@10; 0 where there is nothing."""
    items = unit.items
    relevant = unit.n_relevant
    if new_items_only:
        again = np.isin(items, unit.history.counts_items)
        items = items[~again]
        relevant = relevant - int(again.sum())
    return items, float((1.0 / np.log2(2.0 + np.arange(min(_K, relevant)))).sum())


def _ndcg(scores: Sequence[Floats], gains: Sequence[NDArray[np.int32]], ideals: Sequence[float]) -> NDArray[np.float64]:
    discount = 1.0 / np.log2(2.0 + np.arange(_K))
    tops = (gain[np.argsort(-score, kind="stable")[:_K]] for score, gain in zip(scores, gains, strict=True))
    return np.array(
        [float((top * discount[: len(top)]).sum()) / ideal for top, ideal in zip(tops, ideals, strict=True)]
    )


def _top_candidates_per_model(model_scores: Floats) -> Ints:
    """What a model says nothing of is nobody's candidate."""
    found = [np.flatnonzero(row) for row in model_scores]
    for model, items in enumerate(found):
        if len(items) > _CANDIDATES_PER_MODEL:
            found[model] = items[
                np.argpartition(-model_scores[model, items], _CANDIDATES_PER_MODEL - 1)[:_CANDIDATES_PER_MODEL]
            ]
    return np.unique(np.concatenate(found)).astype(np.int32)


def _single_model_weights(recommender: Recommender) -> Floats:
    return np.eye(len(recommender.models), dtype=np.float32)
