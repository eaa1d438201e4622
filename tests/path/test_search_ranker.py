"""Search learns from judged queries what no weight of a signal can say: here, that dear products are meant."""

import numpy as np
import polars as pl
import pytest
import shops

from vetrina import Shop
from vetrina.core.evaluation_data import EvaluationData
from vetrina.data.splits import JudgmentSplits
from vetrina.scenarios.search.evaluate import evaluate
from vetrina.scenarios.search.online import TREES_FILE, Searcher

KINDS = 260
EACH = 8


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    """Products of many kinds whose names are their whole text; half of each kind is dear, and who asks wants these."""
    folder = tmp_path_factory.mktemp("judged")
    rng = np.random.default_rng(1)
    names = [
        "".join(rng.choice(list("bdfglmnprst")) + rng.choice(list("aeiou")) for _ in range(4)) for _ in range(KINDS)
    ]
    rows = [
        (f"{k:03d}-{i}", f"{names[k]} {'alpha' if i % 2 else 'omega'}", k, i) for k in range(KINDS) for i in range(EACH)
    ]
    price = [float(rng.uniform(80, 120) if i in {1, 2, 5, 6} else rng.uniform(5, 15)) for _, _, _, i in rows]
    pl.DataFrame({"product_id": [r[0] for r in rows], "title": [r[1] for r in rows], "price": price}).write_parquet(
        folder / "products.parquet"
    )
    judged = [(names[k], product, 2 if price[at] > 50 else 0) for at, (product, _, k, _) in enumerate(rows)]
    pl.DataFrame(judged, schema=["query", "product_id", "grade"], orient="row").write_parquet(
        folder / "judgments.parquet"
    )
    trained_shop = Shop(shops.without_networks(folder / "shop"))
    trained_shop.ingest(products=[folder / "products.parquet"], judgments=[folder / "judgments.parquet"])
    assert trained_shop.fit("search")["search"] is not None
    return trained_shop


def test_trees_are_kept_and_put_what_is_wanted_first_on_queries_nobody_showed_them(shop):
    version, _ = shop.shop_context.registry.champion("search")
    assert version is not None
    folder = shop.shop_context.version_folder(version)
    report = shop.shop_context.registry.get_version(version).training.tuning.report
    assert report["trees"]["kept"]
    assert (folder / TREES_FILE).exists()
    judgments = JudgmentSplits(shop.ingest(), {}).holdout().judgments
    learnt = evaluate(folder, EvaluationData(judgments=judgments)).values.mean()
    words = evaluate(folder, EvaluationData(judgments=judgments), only_model="bm25").values.mean()
    assert learnt > 0.97
    assert words < 0.85
    opened = Searcher(folder)
    query = next(iter(judgments.by_query())) if judgments else ""
    prices = opened.catalogue.sort_key("price")[opened.rank(query, 0.0)[:4]]
    assert (prices > 50).all()


def test_every_strange_query_gets_an_answer(shop):
    for query in (
        "a" * 10_000,
        "日本語 " * 2_000,
        "\u0000",
        '"unclosed (AND',
        "😀🎁",
        "-",
        "title:*",
        " ".join(map(str, range(3_000))),
    ):
        items = shop.search(query, limit=5).items
        assert len(items) <= 5
        assert all(np.isfinite(item.score) for item in items)


def test_what_models_learn_from_is_neither_what_tunes_them_nor_what_judges_them(tmp_path):
    rows = [(f"query {number}", f"p{number % 7}", 1) for number in range(2_600)]
    pl.DataFrame(rows, schema=["query", "product_id", "grade"], orient="row").write_parquet(tmp_path / "judged.parquet")
    pl.DataFrame({"product_id": [f"p{n}" for n in range(7)], "title": [f"thing {n}" for n in range(7)]}).write_parquet(
        tmp_path / "products.parquet"
    )
    trained_shop = Shop(tmp_path / "shop")
    snapshot = trained_shop.ingest(products=[tmp_path / "products.parquet"], judgments=[tmp_path / "judged.parquet"])
    splits = JudgmentSplits(snapshot, {})
    past, validation = splits.fit_and_validation()
    assert past.judgments is not None
    assert validation is not None
    assert validation.judgments is not None
    judging = splits.holdout().judgments
    assert judging is not None
    lots = [set(part.query) for part in (past.judgments, validation.judgments, judging)]
    assert [len(lot) > 500 for lot in lots] == [True, True, True]
    assert sum(map(len, lots)) == len(set.union(*lots)) == 2_600
    assert splits.judged_data().judgments is not None
    assert set(splits.judged_data().judgments.query) == lots[0] | lots[1], (
        "the judged file learns from fit and validation"
    )
