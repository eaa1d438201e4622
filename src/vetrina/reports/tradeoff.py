"""Trade-off curve between relevance and a business goal, from which its weight is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vetrina.api.shop import Shop
from vetrina.bundle.business_value import GOALS, reweight_scores, score_factors
from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.types import Interval
from vetrina.evaluation.bootstrap import mean_interval

GOAL_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_MAX_USERS = 1_000
_MAX_POSITIONS = 10


@dataclass(frozen=True)
class TradeoffPoint:
    """One point of the curve: with ``weight`` of a goal, the relevance on the holdout and the mean business value of the first
    ten positions."""

    weight: float
    relevance: Interval
    worth: float


def tradeoff_curve(shop: Shop, goal: str) -> list[TradeoffPoint]:
    """Relevance and business value of the champion of recommend for each weight of a goal; other goals as the settings say.

    Raises BadInput for an unknown goal, without held-out data, or where no product's business value is known.
    """
    if goal not in GOALS:
        raise BadInput(f"goal {goal!r}", "is unknown", f"use one of {', '.join(GOALS)}")
    record = shop.shop_context.registry.get_version(shop.champion("recommend"))
    folder = shop.shop_context.version_folder(record.judged)
    holdout = shop.splits(record).holdout()
    evaluation = plugins.load_module("scenarios", "recommend", "evaluate")
    recommender = shop.load("recommend", record.judged)
    if score_factors(recommender.business_values, {goal: 1.0}) is None:
        way_out = "ingest products with a price"
        if goal == "margin":
            way_out += " and a cost"
        raise BadInput(f"goal {goal!r}", "cannot be judged", way_out)
    configured_goals = shop.folder.settings.goals.to_dict()
    points = []
    for weight in GOAL_WEIGHTS:
        goals = {**configured_goals, goal: weight}
        scores = evaluation.evaluate(folder, holdout, goals=goals, max_units=_MAX_USERS)
        if not len(scores.values):
            raise BadInput("recommend", "has no held-out data to judge by", "add purchases or a longer log")
        business_value = _mean_business_value(recommender, goal, goals)
        points.append(TradeoffPoint(weight, mean_interval(scores.values), business_value))
    return points


def _mean_business_value(recommender, goal: str, goals: Mapping[str, float]) -> float:
    """Mean business value of the first positions over users known to the version; NaN without any.

    Args:
        recommender: The version, opened for serving.
        goal: Goal whose value is measured.
        goals: Weights of all goals.
    """
    values = recommender.business_values[:, GOALS.index(goal)]
    factors = score_factors(recommender.business_values, goals)
    shown_values = []
    for user in recommender.histories.sample_users(_MAX_USERS):
        history = recommender.histories.history_of(user, (), recommender.histories.until)
        allowed_items = recommender.allowed_items("home", history)
        scores, _ = recommender.ranking_scores(history, "home", allowed_items)
        reweighted = reweight_scores(scores, factors)
        first_positions = np.argsort(-reweighted, kind="stable")[:_MAX_POSITIONS]
        shown_values.append(np.asarray(values[first_positions], np.float64))
    if not shown_values:
        return float("nan")
    return float(np.nanmean(np.concatenate(shown_values)))
