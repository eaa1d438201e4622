"""Follows the how-to to the letter: its files, its setting, the whole path."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import shops

import vetrina.models
from vetrina import Shop
from vetrina.core.errors import BadInput
from vetrina.core.progress import NoProgress
from vetrina.core.training_plan import TrainingPlan
from vetrina.model_selection.budget_planner import plan_training
from vetrina.models.base import costs_of, model_names
from vetrina.scenarios.base import find_scenario
from vetrina.train import train

PAGE = Path(__file__).parents[2] / "docs/how-to/add-a-model.md"


@pytest.fixture
def model(tmp_path, monkeypatch) -> str:
    """The files of the page, where models are found."""
    text = PAGE.read_text("utf-8")
    for name, code in re.findall(r"`(own_brands/\w+\.py)`\n\n```python\n(.*?)```", text, re.S):
        file = tmp_path / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    monkeypatch.setattr(vetrina.models, "__path__", [*vetrina.models.__path__, str(tmp_path / "models")])
    (tmp_path / "shop").mkdir()
    setting = re.search(r"```toml\n(.*?)```", text, re.S)
    assert setting
    (tmp_path / "shop/vetrina.toml").write_text(setting[1])
    return "own_brands"


def test_the_page_is_all_it_takes(model, tmp_path):
    assert model in model_names()
    files = shops.checkerboard(tmp_path)
    shop = Shop(tmp_path / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]])
    release = shop.fit("recommend")["recommend"]
    assert release is not None
    tuned = shop.shop_context.registry.get_version(release.version).training.tuning
    assert tuned.report["home"]["alone"][model] >= 0.0
    assert model in tuned.weights["home"]


def test_its_cost_is_planned_with_and_its_hyper_parameter_is_searched(model, tmp_path):
    files = shops.checkerboard(tmp_path, days=14)  # too few to have taken every product: trials are judged by new ones
    shop = Shop(tmp_path / "shop")
    snapshot = shop.ingest(products=[files["products"]], events=[files["events"]])
    recommend = find_scenario("recommend")
    past, validation = recommend.splits(snapshot, shop.folder.settings).fit_and_validation()
    recipe = replace(recommend.recipe, models=("popular", model))
    enough_users = 1_000
    planned = plan_training(costs_of(recipe.models), past, TrainingPlan(), enough_users)
    assert planned.trials.keys() == {model}
    few = replace(planned, trials={model: 3})
    _, tuned = train(recipe, past, "digest", "fit", few, tmp_path / "fit", NoProgress(), validation=validation)
    search = tuned.notes["search"][model]
    assert search["trials"] == 3
    assert search["settings"].keys() == {"power"}


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/vetrina.toml").write_text('[train]\nextra_models = ["own_brandz"]\n')
    files = shops.checkerboard(tmp_path)
    shop = Shop(tmp_path / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]])
    with pytest.raises(BadInput, match=r"own_brandz.*known: .*item_knn"):
        shop.fit("recommend")
