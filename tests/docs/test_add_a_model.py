"""Follows the how-to to the letter: its files, its setting, the whole path."""

import re
from pathlib import Path

import pytest
import shops

import vetrina.models
from vetrina import Shop
from vetrina.core import plugins
from vetrina.core.errors import BadInput

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
    assert model in plugins.names("models")
    files = shops.checkerboard(tmp_path)
    shop = Shop(tmp_path / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]])
    release = shop.fit("recommend")["recommend"]
    assert release is not None
    tuned = shop.shop_context.registry.get_version(release.version).training.tuning
    assert tuned.report["home"]["alone"][model] >= 0.0
    assert model in tuned.weights["home"]


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/vetrina.toml").write_text('[train]\nextra_models = ["own_brandz"]\n')
    files = shops.checkerboard(tmp_path)
    shop = Shop(tmp_path / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]])
    with pytest.raises(BadInput, match=r"own_brandz.*known: .*item_knn"):
        shop.fit("recommend")
