"""Tuning of recommend on validation data: blend weights, LambdaMART, repeat recommendations.

For each blend it chooses the weights of the models and whether LambdaMART trees re-rank the best candidates, and for the whole
scenario whether items that a user has interacted with are recommended again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.training_plan import TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.model_selection import blend
from vetrina.scenarios.recommend import evaluation_units
from vetrina.scenarios.recommend.blend_candidates import BlendUnits, ScoredUnit, score_units
from vetrina.scenarios.recommend.evaluation_units import EvaluationUnit
from vetrina.scenarios.recommend.online import Recommender
from vetrina.scenarios.recommend.quick import MIN_REPEAT_SHARE
from vetrina.scenarios.recommend.tree_tuning import tree_file, tune_trees

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
_MIN_UNITS_FOR_WEIGHTS = 50


@dataclass(frozen=True)
class RepeatShares:
    """Shares of next items that are repeats, by which it is decided whether to recommend such items again."""

    of_users: float
    in_sessions: float

    @property
    def exclude_seen(self) -> bool:
        """Whether known users get no item again."""
        return self.of_users < MIN_REPEAT_SHARE

    @property
    def repeats_in_sessions(self) -> bool:
        """Whether anonymous visitors may get an item of their session again."""
        return self.in_sessions >= MIN_REPEAT_SHARE


@dataclass(frozen=True)
class TunedBlend:
    """Weights of a blend by model, its report, and the models that its trees were trained on (none without trees)."""

    weights: dict[str, float]
    report: dict[str, Any]
    models_of_trees: tuple[str, ...] = ()


def tune(
    folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress | None = None
) -> TuningResult:
    """Weights of each blend, and whether repeats are recommended.

    The blends are ``home`` (all items), ``discover`` (only items that are new to the user), ``session`` (anonymous visitors) and,
    where there is a social graph, ``arriving`` (new visitors before their first event). Writes ``trees/<blend>.onnx`` where trees
    rank better than the weights alone in cross-validation.

    Args:
        folder: folder with the trained models.
        evaluation_data: validation data; its targets and events are used.
        plan: its threads are used.
        progress: gets the steps of each blend.

    Returns:
        Weights of each blend, the options for serving, the shares of repeats and the NDCG of weights, models and trees; the
        default weights without targets.
    """
    recommender = Recommender(folder)
    progress = progress or NoProgress()
    default = default_weights(recommender.models)
    if evaluation_data.targets is None or not evaluation_data.targets.user_ids:
        return TuningResult(default)
    known_users = _known_users(recommender, evaluation_data)
    sessions = _sessions(recommender, evaluation_data, has_known_users=bool(known_users))
    repeats = RepeatShares(repeat_share(known_users), _session_repeat_share(sessions))
    recommender.exclude_seen = repeats.exclude_seen
    recommender.repeats_in_sessions = repeats.repeats_in_sessions

    tuner = _BlendTuner(recommender, folder, progress, plan.threads)
    home = BlendUnits("home", known_users, repeats.exclude_seen)
    if repeats.exclude_seen:
        # Without repeats "discover" is the same as "home".
        tuner.tune_blends([home])
        tuner.copy_blend("home", "discover")
    else:
        tuner.tune_blends([home, BlendUnits("discover", known_users, True)])
    tuner.tune_blends([BlendUnits("session", sessions, not repeats.repeats_in_sessions)], fallback="home")
    if "arriving" in default:
        visitors = evaluation_units.new_visitor_units(recommender.histories, evaluation_data, max_visitors=_MAX_USERS)
        tuner.tune_blends([BlendUnits("arriving", visitors, False)])
    return _tuning_result(tuner, repeats)


class _BlendTuner:
    """Tunes one blend after the other, each on its own evaluation units.

    Attributes:
        weights: Weights of the blends so far, chosen or by default.
        tuned: The blends that had enough evaluation units.
    """

    def __init__(self, recommender: Recommender, folder: Path, progress: Progress, threads: int) -> None:
        """Tunes nothing yet.

        Args:
            recommender: gets the chosen weights, for the trees of the blend.
            folder: folder with the trained models, which gets the trees.
            progress: gets the steps of each blend.
            threads: threads of the training.
        """
        self.weights: dict[str, dict[str, float]] = {}
        self.tuned: dict[str, TunedBlend] = {}
        self._recommender = recommender
        self._folder = folder
        self._progress = progress
        self._threads = threads

    def tune_blends(self, blends: Sequence[BlendUnits], fallback: str = "") -> None:
        """Choose weights and train trees for blends with the same units, which are scored once for all of them.

        Args:
            blends: The blends.
            fallback: Blend whose weights are used where there are too few units; empty for the default weights.
        """
        scored = score_units(self._recommender, blends, self._progress)
        for blend_units in blends:
            name = blend_units.blend
            tuned = self._tune_blend(blend_units, scored.pop(name))
            if tuned is not None:
                self.weights[name] = tuned.weights
                self.tuned[name] = tuned
            elif fallback:
                self.weights[name] = self.weights[fallback]
            else:
                self.weights[name] = default_weights(self._recommender.models)[name]

    def copy_blend(self, source: str, name: str) -> None:
        """Use weights and trees of a blend for another one, too."""
        self.weights[name] = self.weights[source]
        if source not in self.tuned:
            return
        self.tuned[name] = self.tuned[source]
        if self.tuned[source].models_of_trees:
            trees = tree_file(self._folder, source).read_bytes()
            tree_file(self._folder, name).write_bytes(trees)

    def _tune_blend(self, blend_units: BlendUnits, scored_units: Sequence[ScoredUnit]) -> TunedBlend | None:
        """None where too few units have targets."""
        name = blend_units.blend
        chosen = _choose_weights(self._recommender, name, scored_units)
        if chosen is None:
            return None
        self._recommender.weights[name] = chosen.weights
        tree_report = tune_trees(
            self._recommender, blend_units, scored_units, self._folder, self._progress, self._threads
        )
        if tree_report is None:
            return chosen
        models_of_trees: tuple[str, ...] = ()
        if tree_report["ranked"]:
            models_of_trees = tuple(self._recommender.blend_weights(name))
        return TunedBlend(chosen.weights, chosen.report | tree_report, models_of_trees)


def _tuning_result(tuner: _BlendTuner, repeats: RepeatShares) -> TuningResult:
    """The options for serving, the shares of repeats, and the report of each blend."""
    models_of_trees = {}
    blend_reports = {}
    for name, tuned in tuner.tuned.items():
        blend_reports[name] = tuned.report
        if tuned.models_of_trees:
            models_of_trees[name] = list(tuned.models_of_trees)
    report = {
        "repeat_share": repeats.of_users,
        "repeat_share_in_visits": repeats.in_sessions,
        **blend_reports,
    }
    return TuningResult(
        tuner.weights,
        options={"exclude_seen": repeats.exclude_seen, "session_repeats": repeats.repeats_in_sessions},
        blend_options={"ranked": models_of_trees},
        report=report,
    )


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The weights of each blend without enough validation data: mostly repeat consumption, and popularity for new visitors."""
    home = {model: INITIAL_WEIGHTS.get(model, _INITIAL_WEIGHT) for model in models}
    new_items = home | {model: 0.0 for model in _REPEAT_MODELS if model in models}
    weights = {"home": home, "discover": new_items, "session": new_items}
    if "friends" in models:
        weights["arriving"] = {model: float(model in ("popular", "friends")) for model in models}
    return weights


def _known_users(recommender: Recommender, evaluation_data: EvaluationData) -> list[EvaluationUnit]:
    """Users that the bundle has a history of."""
    units = evaluation_units.user_units(
        recommender.histories, evaluation_data, new_items_only=False, max_users=_MAX_USERS
    )
    return [unit for unit in units if unit.is_known]


def _sessions(
    recommender: Recommender, evaluation_data: EvaluationData, *, has_known_users: bool
) -> list[EvaluationUnit]:
    """Anonymous sessions; more of them in a shop without known users."""
    max_sessions = _MAX_USERS if has_known_users else _MAX_SESSIONS
    return evaluation_units.session_units(
        recommender.histories, evaluation_data, max_per_user=_MAX_SESSIONS_PER_USER, max_sessions=max_sessions
    )


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


def _choose_weights(recommender: Recommender, blend_name: str, scored_units: Sequence[ScoredUnit]) -> TunedBlend | None:
    """Weights by NDCG@10 over the best candidates of each model, and a report with the NDCG of weights and single models.

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
    for model, only_this_model in zip(models, np.eye(len(models), dtype=np.float32), strict=True):
        alone[model] = float(units.ndcg(only_this_model).mean())
    report = {"validation_ndcg": ndcg, "alone": alone, "units": len(units)}
    return TunedBlend(dict(zip(models, chosen, strict=True)), report)
