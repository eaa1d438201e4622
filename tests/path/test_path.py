"""The whole path on shops whose answer is known."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import shops
from stored_values import holding

from vetrina import Shop
from vetrina.core.errors import BadInput, NotReady
from vetrina.reports.quality import load_quality, measure_quality, quality_text
from vetrina.reports.version_page import write_version_page


def next_of(product: str) -> str:
    """What follows on the checkerboard: two further, round and round."""
    return f"p{(int(product[1:]) + 2) % 40:03d}"


def test_first_release_is_promoted_with_readable_reasons(trained):
    shop = Shop(trained[0])
    versions = shop.shop_context.registry.list_versions()
    assert {v.scenario for v in versions} == {"recommend", "search"}
    assert all(v.serving and v.verdict == "pass" for v in versions)
    version = shop.shop_context.registry.get_version(versions[0].version)
    assert all(reason.text for reason in version.verdict.reasons)
    assert version.judged != version.name, "judged and served file must not be the same file"


def test_recommend_knows_what_comes_next(trained):
    shop = Shop(trained[0])
    right = 0
    for number in range(0, 40, 2):
        session = tuple(f"p{(number + 2 * k) % 40:03d}" for k in range(4))
        answer = shop.recommend(product_ids=session, limit=3, placement="cart")
        right += next_of(session[-1]) in [i.product_id for i in answer.items]
    assert right >= 18


def test_parity_is_never_crossed(trained):
    shop = Shop(trained[0])
    for user in ("u000", "u001", "u017"):
        items = shop.recommend(user, limit=5).items
        assert {int(i.product_id[1:]) % 2 for i in items} == {int(user[1:]) % 2}


def test_unknown_user_gets_the_popular_list_and_anonymous_the_same(trained):
    shop = Shop(trained[0])
    nobody = shop.recommend(limit=5)
    assert len(nobody.items) == 5
    assert [i.product_id for i in shop.recommend("never seen", limit=5).items] == [i.product_id for i in nobody.items]


def test_filters_and_exclusions_hold(trained):
    shop = Shop(trained[0])
    answer = shop.recommend("u002", limit=20, filters={"category": "home > shoes"})
    assert answer.items
    assert all("shoes" in i.title for i in answer.items)
    similar = shop.similar("p004", limit=10)
    assert "p004" not in [i.product_id for i in similar.items]


def test_search_finds_the_words_and_the_gate_saw_it(trained):
    shop = Shop(trained[0])
    answer = shop.search("blue lamp", limit=3)
    assert all("blue lamp" in i.title for i in answer.items[:2])
    assert shop.evaluate("search").point > 0.95
    assert shop.search("zzz qqq xxx").items, "words that nobody wrote still get the nearest meaning"


def test_evaluation_comes_with_an_interval(trained):
    result = Shop(trained[0]).evaluate("recommend")
    assert result.low <= result.point <= result.high
    assert result.point > 0.5


def test_quality_is_scored_under_a_printed_protocol(trained):
    shop = Shop(trained[0])
    page = write_version_page(shop, shop.champion("recommend")).read_text()
    assert "CPU-milliseconds of an answer" in page  # of every small form that was tried
    assert "<h2>Model card</h2>" in page
    assert "the whole catalogue is ranked" in page
    assert "vetrina bench quality" in page, "nobody has scored it yet"
    assert "held-out users" in page, "how its networks learnt"
    quality = measure_quality(shop, "recommend")
    assert load_quality(shop, quality.version) == quality
    assert quality.figures["NDCG@10"].point == pytest.approx(shop.evaluate("recommend").point)
    assert quality.figures["Recall@20"].point >= quality.figures["Recall@10"].point
    assert quality.alone["popular"].point < quality.figures["NDCG@10"].point
    assert quality.lists is not None
    assert 0.5 < quality.lists.coverage <= 1.0, "each of the forty products follows some other"
    same = measure_quality(shop, "recommend", against=quality.version)
    assert same.gain is not None
    assert same.gain.low == same.gain.high == 0.0
    assert quality.protocol in quality_text(quality)
    page = write_version_page(shop, quality.version).read_text()
    for what in (*quality.figures, *quality.slices, "alone: popular", "gain, paired", "coverage", quality.protocol):
        assert f"{what}" in page
    assert f"{quality.figures['Recall@20'].point:.4f}" in page
    assert "the version, and its models alone" in page
    assert measure_quality(shop, "search").lists is None
    with pytest.raises(BadInput, match="is a version of recommend"):
        measure_quality(shop, "search", version=quality.version)


def test_nothing_new_does_nothing_and_new_events_make_a_second_version(tmp_path: Path):
    files = shops.checkerboard(tmp_path)
    shop = Shop(shops.without_networks(tmp_path / "shop"))
    shop.ingest(products=[files["products"]], events=[files["events"]])
    first = shop.fit("recommend")["recommend"]
    assert first is not None
    assert first.mode == "first"
    shop.ingest(events=[files["events"]])
    assert shop.fit("recommend")["recommend"] is None
    more = tmp_path / "more.csv"
    lines = [f"{shops.START + 61 * shops.DAY + u},u{u:03d},purchase,p{u % 40:03d}" for u in range(60)]
    more.write_text("timestamp,user_id,type,product_id\n" + "\n".join(lines))
    shop.ingest(events=[more])
    second = shop.fit("recommend")["recommend"]
    assert second is not None
    assert second.mode == "offline"
    assert second.version != first.version
    verdict = shop.shop_context.registry.get_verdict(second.verdict)
    assert any(reason.code == f"champion:{first.version}" for reason in verdict.reasons)
    log = shop.shop_context.registry.promotions("recommend")
    assert next(entry.new for entry in log) == first.version
    if second.outcome == "promoted":
        from vetrina.store.operator_actions import rollback

        shop_context = shop.shop_context
        gone_back = rollback(shop_context.registry, shop_context.rollouts, shop.folder.bundles, "recommend")
        assert gone_back["version"] == first.version


def test_the_same_data_and_plan_give_the_same_bundle(tmp_path: Path):
    files = shops.checkerboard(tmp_path, users=24, items=20, days=40)
    made = []
    for name in ("a", "b"):
        shop = Shop(tmp_path / name)
        if made:  # pseudonyms order the users: the same shop has the same keys
            shutil.copytree(tmp_path / "a" / "keys", tmp_path / "b" / "keys")
        shop.ingest(products=[files["products"]], events=[files["events"]])
        release = shop.fit("recommend")["recommend"]
        assert release is not None
        made.append((shop.ingest().digest, release.version, shop.recommend(limit=5)))
    assert made[0] == made[1]


def test_a_catalogue_alone_searches_and_shows_its_shelf(tmp_path: Path):
    shop = Shop(shops.without_networks(tmp_path / "shop"))
    shop.ingest(products=[shops.checkerboard(tmp_path)["products"]])
    releases = shop.fit()
    assert set(releases) == {"recommend", "search"}
    assert releases["search"] is not None
    assert shop.shop_context.registry.get_verdict(releases["search"].verdict).outcome == "baseline"
    assert shop.search("red shoes").items[0].title.startswith("red shoes")
    assert len(shop.recommend().items) == 10


def test_purchases_alone_recommend(tmp_path: Path):
    shop = Shop(shops.without_networks(tmp_path / "shop"))
    shop.ingest(events=[shops.checkerboard(tmp_path)["events"]])
    assert set(shop.fit()) == {"recommend"}
    assert len(shop.recommend("u003").items) == 10
    with pytest.raises(NotReady):
        shop.search("shoes")


def test_predict_learns_the_rule_and_ships_pruned(predicting):
    shop = Shop(predicting[0])
    assert shop.predict([[2.0, -2.0, "blue"]])[0]["prediction"] is True
    assert shop.predict([{"x": -2.0, "y": 2.0, "colour": "green"}])[0]["prediction"] is False
    assert shop.predict([[None, 0.0, "red"]])[0]["prediction"] is True
    assert shop.evaluate("predict").point > -0.4
    version = shop.shop_context.registry.list_versions()[0].version
    record = shop.shop_context.registry.get_version(version)
    assert any(t.model == "mlp" and t.bytes_after < t.bytes_before for t in record.training.compression_trials)


def test_report_draws_both_curves(predicting):
    from vetrina.reports.version_page import write_version_page

    shop = Shop(predicting[0])
    page = write_version_page(shop, shop.shop_context.registry.list_versions()[0].version).read_text()
    for word in ("accuracy", "precision", "recall", "F1", "ROC AUC", "<svg", "Verdict"):
        assert word in page


def test_user_ids_are_nowhere_in_lake_snapshots_or_bundles(trained):
    for place in ("lake", "snapshots", "bundles"):
        assert holding(trained[0] / place, ["u017"]) == {}
        assert holding(trained[0] / place, [Shop(trained[0]).folder.keys.pseudonymise("u017")]), "it is read at all"


def test_probabilities_are_finite_for_any_number(predicting):
    shop = Shop(predicting[0])
    for x in (1e30, -1e30, None):
        probability = shop.predict([[x, 0.0, "never seen"]])[0]["probability"]
        assert np.isfinite(probability)
        assert 0.0 <= probability <= 1.0
