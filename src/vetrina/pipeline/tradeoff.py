"""What a goal of the shop costs in relevance, and what it gains: the curve to choose its weight from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.types import Interval
from vetrina.metrics.bootstrap import interval
from vetrina.pipeline.shop import Shop
from vetrina.retrieval.worth import GOALS, bent, lift

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_UNITS, _PLACES = 1_000, 10


@dataclass(frozen=True)
class Point:
    """With this ``weight`` of a goal: relevance on the holdout, and the mean worth of what stands on the first ten places."""

    weight: float
    relevance: Interval
    worth: float


def tradeoff(shop: Shop, goal: str) -> list[Point]:
    """The champion of recommend on its holdout, its other goals as they are set. Raises BadInput for an unknown goal, or where no
    product's worth is known."""
    if goal not in GOALS:
        raise BadInput(f"goal {goal!r}", "is unknown", f"use one of {', '.join(GOALS)}")
    shown = shop.workshop.registry.show(shop.champion("recommend"))
    folder, holdout = shop.workshop.open_version(shown["judged"]), shop.held(shown).holdout()
    evaluation, opened = plugins.part("scenarios", "recommend", "evaluate"), shop.open("recommend", shown["judged"])
    if lift(opened.worth, {goal: 1.0}) is None:
        raise BadInput(
            f"goal {goal!r}", "cannot be judged", "ingest products with a price" + " and a cost" * (goal == "margin")
        )
    others, points = shop.folder.settings.goals.of(), []
    for weight in WEIGHTS:
        goals = {**others, goal: weight}
        scores = evaluation.evaluate(folder, holdout, goals=goals, most=_UNITS)
        if not len(scores.values):
            raise BadInput("recommend", "has no held-out data to judge by", "add purchases or a longer log")
        points.append(Point(weight, interval(scores.values), _shown(opened, goal, goals)))
    return points


def _shown(opened, goal: str, goals: Mapping[str, float]) -> float:
    """Mean worth of the first places over users whom the version knows."""
    values, lifted = opened.worth[:, GOALS.index(goal)], lift(opened.worth, goals)
    worths = []
    for name in opened.histories.users(_UNITS):
        history = opened.histories.of(name, (), opened.histories.until)
        scores, _ = opened.ranked(history, "home", opened.may_show("home", history))
        order = np.argsort(-bent(scores, lifted), kind="stable")[:_PLACES]
        worths.append(np.asarray(values[order], np.float64))
    return float(np.nanmean(np.concatenate(worths))) if worths else float("nan")
