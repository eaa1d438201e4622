"""The shop's own goals: the order bends to margin, the curve says at what cost."""

import csv
import shutil

import numpy as np
import pytest
import shops
from click.testing import CliRunner

from vetrina import Shop
from vetrina.cli.main import cli
from vetrina.core.errors import BadInput
from vetrina.core.training_data import Catalogue
from vetrina.features import business_value
from vetrina.reports.tradeoff import GOAL_WEIGHTS, tradeoff_curve


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory) -> Shop:
    """Odd and even users as ever; every fourth product brings ten times the margin of the others."""
    folder = tmp_path_factory.mktemp("goals")
    files = shops.checkerboard(folder)
    rows = list(csv.DictReader(files["products"].read_text().splitlines()))
    with files["products"].open("w", newline="") as file:
        out = csv.DictWriter(file, [*rows[0], "cost"])
        out.writeheader()
        out.writerows([{**row, "price": 11, "cost": 1 if n % 4 < 2 else 10} for n, row in enumerate(rows)])
    shop = Shop(shops.without_networks(folder / "shop"))
    shop.ingest(products=[files["products"]], events=[files["events"]])
    shop.fit("recommend", budget_minutes=1)
    shop.shop_context.engine.dispose()
    return shop


def test_margin_lifts_what_earns_and_relevance_pays_for_it(trained_once):
    points = tradeoff_curve(trained_once, "margin")
    assert [p.weight for p in points] == list(GOAL_WEIGHTS)
    worths = [p.worth for p in points]
    assert worths == sorted(worths)
    assert worths[-1] > worths[0] * 1.3
    assert points[-1].relevance.point <= points[0].relevance.point


def test_the_setting_bends_what_is_served(trained_once, tmp_path):
    def earning(shop: Shop) -> int:
        return sum(int(i.product_id[1:]) % 4 < 2 for i in shop.recommend("u000", limit=10, exclude_seen=False).items)

    plain = Shop(shutil.copytree(trained_once.folder.root, tmp_path / "plain"))
    bent = shutil.copytree(trained_once.folder.root, tmp_path / "bent")
    shops.without_networks(bent, "[goals]\nmargin = 1.0\n")
    assert earning(Shop(bent)) > earning(plain)
    assert all(int(i.product_id[1:]) % 2 == 0 for i in Shop(bent).recommend("u000", limit=5, exclude_seen=False).items)


def test_what_events_count_by_teaches_every_model_anew(trained_once, tmp_path):
    """Of the same data: nothing fitted before may be taken for what was learnt from other weights."""
    bent = shutil.copytree(trained_once.folder.root, tmp_path / "bent")
    (bent / "vetrina.toml").write_text(
        shops.WITHOUT_NETWORKS.replace("[train]", '[train]\nweight_events_by = "margin"')
    )
    shop = Shop(bent)
    released = shop.fit("recommend", budget_minutes=1)["recommend"]
    assert released is not None
    other = shop.shop_context.registry.get_version(released.version).judged
    first = trained_once.shop_context.registry.get_version(trained_once.champion("recommend")).judged
    catalogue = shop.load("recommend", other).catalogue
    earns = np.array([int(catalogue.product_id(i)[1:]) % 4 < 2 for i in range(len(catalogue))])
    scores = {}
    for name, folder, version in (("plain", trained_once, first), ("bent", shop, other)):
        taken = np.load(folder.shop_context.version_folder(version) / "popular" / "scores.npy")
        scores[name] = float(taken[earns].sum() / taken.sum())
    assert scores["plain"] < 0.6 < 0.8 < scores["bent"]


def test_what_cannot_be_judged_is_refused(trained_once, trained):
    with pytest.raises(BadInput, match="use one of revenue, margin, retention_7, retention_28"):
        tradeoff_curve(trained_once, "fame")
    with pytest.raises(BadInput, match="ingest products with a price and a cost"):
        tradeoff_curve(Shop(trained[0]), "margin")
    result = CliRunner().invoke(cli, ["--shop-dir", str(trained_once.folder.root), "tradeoff", "revenue"])
    assert result.exit_code == 0
    assert result.output.count("NDCG@10") == len(GOAL_WEIGHTS)


def test_unknown_worth_changes_nothing_and_losses_count_as_the_smallest_gain(tmp_path):
    text = ("",) * 4
    number = np.full(4, np.nan)
    catalogue = Catalogue(
        np.array(list("abcd")), text, text, text, text, text, np.array([10.0, 10.0, 10.0, np.nan]), number, number,
        costs=np.array([5.0, 9.0, 30.0, 1.0]),
    )  # fmt: skip
    business_value.write(catalogue, [np.full(4, np.nan, np.float32)] * 2, tmp_path)
    values = business_value.read(tmp_path)
    lifted = business_value.score_factors(values, {"margin": 1.0})
    assert lifted is not None
    assert lifted.tolist() == [4.0, 1.0, 0.25, 1.0]
    assert business_value.score_factors(values, {}) is None
