"""Routes of the scenarios: each kind of answer has one, and each scenario of that kind its path."""

from litestar.handlers import HTTPRouteHandler

from vetrina.scenarios.base import (
    AudienceScenario,
    PredictionScenario,
    RankingScenario,
    Scenario,
    find_scenario,
    scenario_names,
)
from vetrina.serve.routes.audience import audience_route
from vetrina.serve.routes.prediction import prediction_route
from vetrina.serve.routes.ranking import ranking_route


def scenario_routes() -> list[HTTPRouteHandler]:
    """One route for each scenario."""
    return [_route_of(find_scenario(name)) for name in scenario_names()]


def _route_of(scenario: Scenario) -> HTTPRouteHandler:
    if isinstance(scenario, RankingScenario):
        return ranking_route(scenario)
    if isinstance(scenario, AudienceScenario):
        return audience_route(scenario)
    if isinstance(scenario, PredictionScenario):
        return prediction_route(scenario)
    raise TypeError(f"{scenario.name} answers neither with products nor with users nor with predictions")
