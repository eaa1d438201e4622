"""Follows the how-to to the letter: a sixth scenario as one folder, from files to an answer."""

import re
import sys
from pathlib import Path

import pytest
import shops
from litestar.testing import TestClient

import vetrina.scenarios
from vetrina import Shop
from vetrina.core.errors import BadInput
from vetrina.scenarios.base import find_scenario, scenario_names
from vetrina.serve.app import create_app

PAGE = Path(__file__).parents[2] / "docs/how-to/add-a-scenario.md"


@pytest.fixture
def scenario(tmp_path, monkeypatch) -> str:
    """The files of the page, where scenarios are found; the gate's fresh process finds them, too."""
    for name, code in re.findall(r"`(bought_together/\w+\.py)`\n\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.S):
        file = tmp_path / "scenarios" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    folder = str(tmp_path / "scenarios")
    monkeypatch.setattr(vetrina.scenarios, "__path__", [*vetrina.scenarios.__path__, folder])
    (tmp_path / "sitecustomize.py").write_text(
        f"import vetrina.scenarios\nvetrina.scenarios.__path__.append({folder!r})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    yield "bought_together"
    for module in [name for name in sys.modules if name.startswith("vetrina.scenarios.bought_together")]:
        del sys.modules[module]


def test_the_page_is_all_it_takes(scenario, tmp_path):
    assert scenario in scenario_names()
    files = shops.checkerboard(tmp_path)
    shop = Shop(tmp_path / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]])
    assert shop.validate(scenario).readiness.ready

    release = shop.fit(scenario)[scenario]

    assert release is not None
    assert release.outcome == "promoted", release
    record = shop.shop_context.registry.get_version(release.version)
    assert record.verdict is not None
    assert record.verdict.outcome == "pass"
    assert shop.evaluate(scenario).point > 0.0
    answer = shop.rank(scenario, product_ids=["p000"], limit=3)
    assert len(answer.items) == 3
    assert "p000" not in [item.product_id for item in answer.items]
    with TestClient(create_app(tmp_path / "shop"), base_url="http://127.0.0.1") as client:
        response = client.post(f"/v1/{scenario}", json={"product_ids": ["p000"], "limit": 3})
        assert [item["product_id"] for item in response.json()["items"]] == [item.product_id for item in answer.items]
        assert client.post(f"/v1/{scenario}", json={"product_ids": ["p000"], "limit": 0}).status_code == 400
        assert f"/v1/{scenario}" in client.get("/openapi.json").json()["paths"]


def test_an_unknown_scenario_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(BadInput, match=r"recomend.*known: ads, launch, predict, recommend, search"):
        find_scenario("recomend")
