"""What a goal of the shop costs in relevance, and what it gains: the curve to choose its weight from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.types import Interval
from vetrina.metrics.bootstrap import mean_interval
from vetrina.pipeline.api import Shop
from vetrina.retrieval.business_value import GOALS, reweight_scores, score_factors

GOAL_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_MAX_USERS = 1_000
_MAX_POSITIONS = 10


@dataclass(frozen=True)
class TradeoffPoint:
    """With this ``weight`` of a goal: relevance on the holdout, and the mean worth of what stands on the first ten places."""

    weight: float
    relevance: Interval
    worth: float


def tradeoff_curve(shop: Shop, goal: str) -> list[TradeoffPoint]:
    """The champion of recommend on its holdout, its other goals as they are set. Raises BadInput for an unknown goal, or where no
    product's worth is known."""
    if goal not in GOALS:
        raise BadInput(f"goal {goal!r}", "is unknown", f"use one of {', '.join(GOALS)}")
    shown = shop.shop_context.registry.get_version(shop.champion("recommend"))
    folder = shop.shop_context.version_folder(shown["judged"])
    holdout = shop.splits(shown).holdout()
    evaluation = plugins.load_module("scenarios", "recommend", "evaluate")
    opened = shop.load("recommend", shown["judged"])
    if score_factors(opened.business_values, {goal: 1.0}) is None:
        raise BadInput(
            f"goal {goal!r}", "cannot be judged", "ingest products with a price" + " and a cost" * (goal == "margin")
        )
    others = shop.folder.settings.goals.to_dict()
    points = []
    for weight in GOAL_WEIGHTS:
        goals = {**others, goal: weight}
        scores = evaluation.evaluate(folder, holdout, goals=goals, max_units=_MAX_USERS)
        if not len(scores.values):
            raise BadInput("recommend", "has no held-out data to judge by", "add purchases or a longer log")
        points.append(TradeoffPoint(weight, mean_interval(scores.values), _mean_business_value(opened, goal, goals)))
    return points


def _mean_business_value(recommender, goal: str, goals: Mapping[str, float]) -> float:
    """Mean worth of the first places over users whom the version knows."""
    values = recommender.business_values[:, GOALS.index(goal)]
    lifted = score_factors(recommender.business_values, goals)
    worths = []
    for name in recommender.histories.users(_MAX_USERS):
        history = recommender.histories.of(name, (), recommender.histories.until)
        scores, _ = recommender.ranking_scores(history, "home", recommender.allowed_items("home", history))
        order = np.argsort(-reweight_scores(scores, lifted), kind="stable")[:_MAX_POSITIONS]
        worths.append(np.asarray(values[order], np.float64))
    return float(np.nanmean(np.concatenate(worths))) if worths else float("nan")
