"""Products that nobody has taken: found beside what they are like, and given a share of the places."""

import csv
import random
import shutil

import pytest
import shops

from vetrina import Shop
from vetrina.core.errors import BadInput


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory) -> Shop:
    """Users keep to a kind, one of twelve products a day; of each kind there is one more that nobody has taken."""
    folder = tmp_path_factory.mktemp("newcomers")
    rng = random.Random(3)
    kinds = len(shops.KINDS)
    each = 12
    with (folder / "products.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["product_id", "title", "category", "brand", "price", "stock"])
        for number in range(kinds * (each + 1)):
            kind = shops.KINDS[number % kinds]
            colour = shops.COLOURS[number % len(shops.COLOURS)]
            name = f"p{number:03d}" if number < kinds * each else f"new-{kind}"
            out.writerow([name, f"{colour} {kind} number {number}", f"home > {kind}", f"brand{number % 3}", 20, 10])
    with (folder / "events.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["timestamp", "user_id", "type", "product_id"])
        for user in range(60):
            for day in range(40):
                number = kinds * rng.randrange(each) + user % kinds
                out.writerow([shops.START + day * shops.DAY + user, f"u{user:03d}", "purchase", f"p{number:03d}"])
    shop = Shop(shops.without_networks(folder / "shop"))
    shop.ingest(products=[folder / "products.csv"], events=[folder / "events.csv"])
    shop.fit("recommend", budget_minutes=1)
    shop.fit("search", budget_minutes=1)
    shop.shop_context.engine.dispose()
    return shop


def test_the_page_of_a_product_that_nobody_took_shows_its_kind(trained_once):
    for kind in shops.KINDS:
        items = trained_once.similar(f"new-{kind}", limit=4).items
        assert [kind in i.title for i in items].count(True) >= 3
        assert items[0].reasons == ("like what you looked at",)


def test_newcomers_get_their_share_of_places_and_no_more(trained_once, tmp_path):
    folder = shutil.copytree(trained_once.folder.root, tmp_path / "shop")
    usual = [i.product_id for i in Shop(folder).recommend("u000", limit=20, exclude_seen=False).items]
    (folder / "vetrina.toml").write_text("[goals]\ncold_start_share = 0.2\n")
    shop = Shop(folder)
    product_ids = [i.product_id for i in shop.recommend("u000", limit=20, exclude_seen=False).items]
    assert sum(p.startswith("new-") for p in usual) < sum(p.startswith("new-") for p in product_ids)
    assert [n for n, p in enumerate(product_ids, start=1) if p.startswith("new-")][:3] == [5, 10, 15]
    others = [p for p in product_ids if not p.startswith("new-")]
    assert len(others) >= 15, "beside the reserved positions a newcomer may stand where it would have stood"
    assert others == [p for p in usual if not p.startswith("new-")][: len(others)]
    assert [i.product_id for i in shop.recommend("u000", limit=7, exclude_seen=False).items] == product_ids[:7]
    (folder / "vetrina.toml").write_text("[goals]\ncold_start_share = 0.7\n")
    with pytest.raises(BadInput, match=r"cold_start_share 0.7 is no share between 0 and 0.5"):
        Shop(folder).recommend("u000")


def test_search_knows_what_somebody_looked_at(trained_once):
    """Every title holds the word: what a shopper takes otherwise decides, and of what they never had, too."""
    for user in range(3):
        items = trained_once.search("number", f"u{user:03d}", limit=14).items
        kind = shops.KINDS[user % len(shops.KINDS)]
        assert [kind in i.title for i in items].count(True) >= 10
        assert f"new-{kind}" in {i.product_id for i in items}
    nobody = trained_once.search("number", limit=14).items
    assert len({i.title.split()[1] for i in nobody}) > 1
