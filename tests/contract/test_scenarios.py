"""What every scenario keeps, whatever it answers with."""

import pytest

from vetrina.core.errors import BadInput
from vetrina.core.settings import Settings
from vetrina.models.base import find_model
from vetrina.scenarios.base import (
    AudienceScenario,
    PredictionScenario,
    RankingScenario,
    find_ranking_scenario,
    find_scenario,
    scenario_names,
)


@pytest.fixture(params=scenario_names())
def scenario(request):
    return find_scenario(request.param)


def test_its_name_is_that_of_its_folder(scenario):
    assert find_scenario(scenario.name) is scenario


def test_it_answers_in_one_of_three_ways(scenario):
    kinds = (RankingScenario, AudienceScenario, PredictionScenario)
    assert sum(isinstance(scenario, kind) for kind in kinds) == 1


def test_its_recipe_names_models_that_can_be_trained(scenario):
    recipe = scenario.recipe
    assert set(recipe.baselines) <= set(recipe.models)
    assert set(scenario.always_fitted) <= set(recipe.models)
    if scenario.quick_recipe is not None:
        assert set(scenario.quick_recipe.models) <= set(recipe.models)
    for name in (*recipe.models, *scenario.added_models(Settings())):
        assert find_model(name).is_trainable, name


def test_it_is_ready_with_the_tables_that_it_requires_and_says_what_lacks(scenario):
    assert scenario.readiness(scenario.required_tables).ready
    lacking = scenario.readiness(())
    assert not lacking.ready
    assert all(table in lacking.why for table in scenario.required_tables)
    assert lacking.meanwhile


def test_the_model_card_has_its_texts(scenario):
    assert len(scenario.purpose.split()) > 3
    assert len(scenario.protocol.split()) > 3


def test_a_scenario_that_answers_with_something_else_ranks_no_products():
    with pytest.raises(BadInput, match="predict: does not answer with products"):
        find_ranking_scenario("predict")
