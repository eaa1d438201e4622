"""Tuning of recommend on validation data: blend weights, LambdaMART, repeat recommendations.

For each blend it chooses the weights of the models and whether LambdaMART trees re-rank the best candidates, and for the whole
scenario whether items that a user has interacted with are recommended again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import NoProgress, Progress
from vetrina.core.types import EvaluationData, Floats, Ints, TrainingPlan
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.model_selection import blend
from vetrina.scenarios.recommend import evaluation_units
from vetrina.scenarios.recommend.evaluation_units import EvaluationUnit
from vetrina.scenarios.recommend.features import feature_names
from vetrina.scenarios.recommend.online import BLEND_CANDIDATES, CANDIDATES_PER_MODEL, Recommender, top_k
from vetrina.scenarios.recommend.quick import MIN_REPEAT_SHARE

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
_INITIAL_WEIGHT = 0.1  # of a model without an entry in INITIAL_WEIGHTS
_REPEAT_MODELS = ("repeat", "lately")  # models of repeat consumption, which score no new items
_MAX_USERS = 3_000
_MAX_SESSIONS = 12_000  # in a shop without known users
_MAX_SESSIONS_PER_USER = 3
_MAX_UNITS_FOR_WEIGHTS = 3_000
_MIN_UNITS_FOR_WEIGHTS = 50
_MIN_UNITS_FOR_TREES = 500
_CANDIDATES_PER_MODEL = 150  # best items of each model, on which the weights are chosen
_K = 10
_NDCG_TRUNCATION = 20  # positions that LambdaMART optimises


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


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Weights of each blend, and tuning notes.

    The blends are ``home`` (all items), ``discover`` (only items that are new to the user), ``session`` (anonymous visitors) and,
    where there is a social graph, ``arriving`` (new visitors before their first event). Writes ``trees/<blend>.onnx`` where trees
    rank better than the weights alone in cross-validation.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its targets and events are used.
        plan: its threads are used.
        progress: gets the steps of each blend.

    Returns:
        {blend: {model: weight}}, and notes with the NDCG of weights, models and trees, the shares of repeats and the options for
        serving; the default weights without targets.
    """
    recommender = Recommender(folder)
    progress = progress or NoProgress()
    default = default_weights(recommender.models)
    if evaluation_data.targets is None or not evaluation_data.targets.user_ids:
        return default, {}
    all_users = evaluation_units.user_units(
        recommender.histories, evaluation_data, new_items_only=False, max_users=_MAX_USERS
    )
    known_users = [unit for unit in all_users if unit.is_known]
    sessions = evaluation_units.session_units(
        recommender.histories,
        evaluation_data,
        max_per_user=_MAX_SESSIONS_PER_USER,
        max_sessions=_MAX_USERS if known_users else _MAX_SESSIONS,
    )
    user_repeat_share = repeat_share(known_users)
    session_repeat_share = _session_repeat_share(sessions)
    exclude_seen = user_repeat_share < MIN_REPEAT_SHARE
    repeats_in_sessions = session_repeat_share >= MIN_REPEAT_SHARE
    recommender.exclude_seen = exclude_seen
    recommender.repeats_in_sessions = repeats_in_sessions
    units: dict[str, Sequence[EvaluationUnit]] = {"home": known_users, "discover": known_users, "session": sessions}
    if "arriving" in default:
        units["arriving"] = evaluation_units.new_visitor_units(
            recommender.histories, evaluation_data, max_visitors=_MAX_USERS
        )
    models_of_trees: dict[str, list[str]] = {}  # by blend, the models that its trees were trained on
    options = {"exclude_seen": exclude_seen, "session_repeats": repeats_in_sessions, "ranked": models_of_trees}
    weights: dict[str, dict[str, float]] = {}
    notes: dict[str, Any] = {
        "options": options,
        "repeat_share": user_repeat_share,
        "repeat_share_in_visits": session_repeat_share,
    }
    new_items_only = {name: False for name in units}
    new_items_only["home"] = exclude_seen
    new_items_only["discover"] = True
    new_items_only["session"] = not repeats_in_sessions
    # Without repeats "discover" is the same as "home"; else both are scored on the same users at once.
    blends_of_users = ("home",) if exclude_seen else ("home", "discover")
    scored = _score_units(recommender, known_users, {name: new_items_only[name] for name in blends_of_users}, progress)
    for name in units:
        if name == "discover" and exclude_seen and "home" in weights:
            weights[name] = weights["home"]
            notes[name] = notes.get("home", {})
            continue
        if name not in scored:
            scored |= _score_units(recommender, units[name], {name: new_items_only[name]}, progress)
        scored_units = scored.pop(name)
        chosen = _choose_weights(recommender, name, scored_units)
        if chosen is None:
            weights[name] = weights.get("home", default[name]) if name == "session" else default[name]
            continue
        weights[name], notes[name] = chosen
        recommender.weights[name] = weights[name]
        tree_notes = _fit_trees(
            recommender, name, units[name], scored_units, new_items_only[name], folder, progress, plan.threads
        )
        if tree_notes:
            notes[name] |= tree_notes
            if tree_notes["ranked"]:
                models_of_trees[name] = list(recommender.blend_weights(name))
    if exclude_seen and "home" in models_of_trees:
        models_of_trees["discover"] = models_of_trees["home"]
        (folder / "trees/discover.onnx").write_bytes((folder / "trees/home.onnx").read_bytes())
    return weights, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights of each blend without enough validation data: mostly repeat consumption, and popularity for new visitors."""
    home = {model: INITIAL_WEIGHTS.get(model, _INITIAL_WEIGHT) for model in models}
    new_items = home | {model: 0.0 for model in _REPEAT_MODELS if model in models}
    weights = {"home": home, "discover": new_items, "session": new_items}
    if "friends" in models:
        weights["arriving"] = {model: float(model in ("popular", "friends")) for model in models}
    return weights


def repeat_share(units: Sequence[EvaluationUnit]) -> float:
    """Share of the next items of known users that are repeats: high for groceries, near 0 for sofas."""
    n_repeats = 0
    n_items = 0
    for unit in units:
        if len(unit.history.counts_items):
            n_repeats += int(np.isin(unit.items, unit.history.counts_items).sum())
            n_items += len(unit.items)
    return n_repeats / n_items if n_items else 0.0


def _session_repeat_share(sessions: Sequence[EvaluationUnit]) -> float:
    """Share of sessions whose next item was in the session before."""
    if not sessions:
        return 0.0
    return float(np.mean([np.isin(unit.items, unit.history.items).any() for unit in sessions]))


def _score_units(
    recommender: Recommender, units: Sequence[EvaluationUnit], blends: Mapping[str, bool], progress: Progress
) -> dict[str, list[ScoredUnit]]:
    """The best candidates of each model by blend, for units that have targets; at most _MAX_UNITS_FOR_WEIGHTS, evenly spread.

    Args:
        recommender: scores the units, each once for all blends.
        units: evaluation units of these blends.
        blends: by blend, whether only items that are new to the user are candidates and targets.
        progress: gets one step.
    """
    scored: dict[str, list[ScoredUnit]] = {name: [] for name in blends}
    step_size = max(1, len(units) // _MAX_UNITS_FOR_WEIGHTS)
    selected = range(0, len(units), step_size)[:_MAX_UNITS_FOR_WEIGHTS]
    excluding_last = sorted(blends, key=lambda name: blends[name])  # since excluding changes the scores in place
    with progress.step(f"blend: {', '.join(blends)}", len(selected)) as step:
        for number in selected:
            unit = units[number]
            step.advance()
            targets = {name: _targets_and_ideal_dcg(unit, new_only) for name, new_only in blends.items()}
            if not any(ideal_dcg for _, ideal_dcg in targets.values()):
                continue
            scores = recommender.model_scores(unit.history)
            for name in excluding_last:
                items, ideal_dcg = targets[name]
                if blends[name]:
                    scores[:, unit.history.counts_items] = 0.0
                if ideal_dcg:
                    candidates = _top_candidates_per_model(scores)
                    gains = np.isin(candidates, items).astype(np.float32)
                    scored_unit = ScoredUnit(number, candidates, scores[:, candidates].T, gains, ideal_dcg)
                    scored[name].append(scored_unit)
    return scored


def _choose_weights(
    recommender: Recommender, blend_name: str, scored_units: Sequence[ScoredUnit]
) -> tuple[dict[str, float], dict[str, Any]] | None:
    """Weights by NDCG@10 over the best candidates of each model, and notes with the NDCG of weights and single models.

    None where too few units have targets.
    """
    if len(scored_units) < _MIN_UNITS_FOR_WEIGHTS:
        return None
    units = blend.pad_candidates(
        [unit.scores for unit in scored_units],
        [unit.gains for unit in scored_units],
        [unit.ideal_dcg for unit in scored_units],
    )
    models = recommender.models
    default = default_weights(models)[blend_name]
    chosen, ndcg = blend.choose_weights(units, [default[model] for model in models])
    alone = {}
    for model, single_weights in zip(models, _single_model_weights(recommender), strict=True):
        alone[model] = float(units.ndcg(single_weights).mean())
    notes = {"validation_ndcg": ndcg, "alone": alone, "units": len(units)}
    return dict(zip(models, chosen, strict=True)), notes


def _fit_trees(
    recommender: Recommender,
    blend_name: str,
    units: Sequence[EvaluationUnit],
    scored_units: Sequence[ScoredUnit],
    new_items_only: bool,
    folder: Path,
    progress: Progress,
    threads: int,
) -> dict[str, Any] | None:
    """Notes about LambdaMART trees that re-rank a blend's best candidates; writes them if they are better in cross-validation.

    Args:
        recommender: with the chosen weights of the blend.
        blend_name: the blend.
        units: evaluation units of the blend.
        scored_units: those of them whose candidates are scored already.
        new_items_only: whether only items that are new to the user are candidates and targets.
        folder: folder with the trained models.
        progress: gets two steps.
        threads: threads of the training.

    Returns:
        None where too few units have a target among the candidates.
    """
    from vetrina.bundle.tree_ensemble.write import feature_importances, write_tree_ensemble
    from vetrina.ranking import lambdamart

    features: list[Floats] = []
    gains: list[NDArray[np.int32]] = []
    ideal_dcgs: list[float] = []
    blended: list[Floats] = []
    candidate_lists = _candidate_lists(recommender, blend_name, units, scored_units, new_items_only, progress)
    for unit, candidates, candidate_features, blended_scores in candidate_lists:
        items, ideal_dcg = _targets_and_ideal_dcg(unit, new_items_only)
        features.append(candidate_features)
        gains.append(np.isin(candidates, items).astype(np.int32))
        ideal_dcgs.append(ideal_dcg)
        blended.append(blended_scores)
    n_units_with_target = sum(bool(unit_gains.any()) for unit_gains in gains)
    if n_units_with_target < _MIN_UNITS_FOR_TREES:
        return None
    sizes = np.array([len(unit_gains) for unit_gains in gains], np.int64)
    groups = lambdamart.RankingGroups(np.concatenate(features), np.concatenate(gains), sizes)
    with progress.step(f"trees: {blend_name}", 1) as step:
        fitted = lambdamart.fit(groups, _NDCG_TRUNCATION, seed=42, threads=threads)
        step.advance()
    ends = np.cumsum(sizes)[:-1]
    ndcg_before = _ndcg(np.split(np.concatenate(blended), ends), gains, ideal_dcgs)
    ndcg_after = _ndcg(np.split(fitted.out_of_fold_scores, ends), gains, ideal_dcgs)
    gain = paired_difference(ndcg_after, ndcg_before)
    is_better = gain.low > 0
    if is_better:
        (folder / "trees").mkdir(exist_ok=True)
        write_tree_ensemble(fitted.trees, folder / f"trees/{blend_name}.onnx")
    names = feature_names(tuple(recommender.blend_weights(blend_name)))
    return {
        "ranked": is_better,
        "trees": fitted.trees.num_trees(),
        "crossed_ndcg": float(ndcg_after.mean()),
        "blend_ndcg": float(ndcg_before.mean()),
        "gain": [gain.low, gain.point, gain.high],
        "features": feature_importances(fitted.trees, names),
    }


def _candidate_lists(
    recommender: Recommender,
    blend_name: str,
    units: Sequence[EvaluationUnit],
    scored_units: Sequence[ScoredUnit],
    new_items_only: bool,
    progress: Progress,
) -> Iterator[tuple[EvaluationUnit, Ints, Floats, Floats]]:
    """Each unit with a target: the candidates (n,), their features (n, columns) and their blended scores (n,).

    Args:
        recommender: with the chosen weights of the blend.
        blend_name: the blend.
        units: evaluation units of the blend.
        scored_units: those of them whose candidates are scored already; the catalogue is scored for the others.
        new_items_only: whether only items that are new to the user are candidates and targets.
        progress: gets one step.
    """
    scored_by_number = {scored_unit.number: scored_unit for scored_unit in scored_units}
    with progress.step(f"candidates: {blend_name}", len(units)) as step:
        for number, unit in enumerate(units):
            step.advance()
            _, ideal_dcg = _targets_and_ideal_dcg(unit, new_items_only)
            if not ideal_dcg:
                continue
            if number in scored_by_number:
                candidates, scores, blended = _tree_candidates(recommender, blend_name, scored_by_number[number])
            else:
                allowed = recommender.allowed_items(blend_name, unit.history, exclude_seen=new_items_only)
                candidates, scores, blended = recommender.candidates(unit.history, blend_name, allowed)
            features = recommender.ranker_features(unit.history, candidates, scores, blended)
            yield unit, candidates, features, blended


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


def _targets_and_ideal_dcg(unit: EvaluationUnit, new_items_only: bool) -> tuple[Ints, float]:
    """The targets in the catalogue (n,), and the best possible DCG@10; 0 without targets."""
    items = unit.items
    n_relevant = unit.n_relevant
    if new_items_only:
        is_repeat = np.isin(items, unit.history.counts_items)
        items = items[~is_repeat]
        n_relevant -= int(is_repeat.sum())
    discounts = np.log2(2.0 + np.arange(min(_K, n_relevant)))
    return items, float((1.0 / discounts).sum())


def _ndcg(
    scores: Sequence[Floats], gains: Sequence[NDArray[np.int32]], ideal_dcgs: Sequence[float]
) -> NDArray[np.float64]:
    """(units,) NDCG@10 of the candidates ranked by their scores.

    Args:
        scores: of each unit (n,).
        gains: of each unit (n,), 1 for a target.
        ideal_dcgs: of each unit.
    """
    discount = 1.0 / np.log2(2.0 + np.arange(_K))
    values = []
    for unit_scores, unit_gains, ideal_dcg in zip(scores, gains, ideal_dcgs, strict=True):
        top_gains = unit_gains[np.argsort(-unit_scores, kind="stable")[:_K]]
        dcg = float((top_gains * discount[: len(top_gains)]).sum())
        values.append(dcg / ideal_dcg)
    return np.array(values)


def _top_candidates_per_model(model_scores: Floats) -> Ints:
    """(n,) distinct best items of each model with a score other than 0, from ``model_scores`` (models, items)."""
    best_items = []
    for scores in model_scores:
        best_items.append(top_k(np.where(scores != 0, scores, -np.inf), _CANDIDATES_PER_MODEL))
    return np.unique(np.concatenate(best_items)).astype(np.int32)


def _single_model_weights(recommender: Recommender) -> Floats:
    """One row of weights for each model alone."""
    return np.eye(len(recommender.models), dtype=np.float32)
