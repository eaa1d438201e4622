"""Trade-off curve between relevance and a business goal, from which its weight is chosen."""

from dataclasses import dataclass

from vetrina.api.shop import Shop
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.evaluation_data import Interval
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.features.business_value import GOALS
from vetrina.scenarios.base import RankingScenario, find_scenario, scenario_names

GOAL_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class TradeoffPoint:
    """One point of the curve: with ``weight`` of a goal, the relevance on the holdout and the mean business value of the first
    ten positions."""

    weight: float
    relevance: Interval
    worth: float


def tradeoff_curve(shop: Shop, goal: str) -> list[TradeoffPoint]:
    """Relevance and business value of the champion for each weight of a goal; other goals as the settings say.

    Raises:
        BadInput: The goal is unknown, there is no held-out data, or no product's business value is known.
    """
    if goal not in GOALS:
        raise BadInput(f"goal {goal!r}", "is unknown", f"use one of {', '.join(GOALS)}")
    scenario = _scenario_with_goals()
    record = shop.shop_context.registry.get_version(shop.champion(scenario.name))
    folder = shop.shop_context.version_folder(record.judged)
    holdout = shop.splits(record).holdout()
    configured_goals = shop.folder.settings.goals.to_dict()
    points = []
    for weight in GOAL_WEIGHTS:
        effect = scenario.evaluate_goals(folder, holdout, {**configured_goals, goal: weight}, goal)
        if not len(effect.relevance.values):
            raise BadInput(scenario.name, "has no held-out data to judge by", "add purchases or a longer log")
        points.append(TradeoffPoint(weight, mean_interval(effect.relevance.values), effect.business_value))
    return points


def _scenario_with_goals() -> RankingScenario:
    """The scenario whose answers are re-ranked by business goals."""
    for name in scenario_names():
        scenario = find_scenario(name)
        if isinstance(scenario, RankingScenario) and scenario.has_business_goals:
            return scenario
    raise NotFound("business goals", "no scenario re-ranks by them", "add one that does")
