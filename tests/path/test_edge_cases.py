"""Shops with next to nothing, or with nothing to learn: an answer, never a crash."""

import math
import random
from pathlib import Path

import pytest
import shops

from vetrina import Shop
from vetrina.core.errors import BadInput

pytestmark = pytest.mark.feeds

START = 1_700_000_000


def lines(name: str) -> list[tuple[int, str, str]]:
    """(time, user, product) of each event."""
    rng = random.Random(0)
    if name == "one product":
        return [(START + 9_000 * n, f"u{n % 20}", "p0") for n in range(60)]
    if name == "ten products, three users":
        return [(START + 9_000 * n, f"u{n % 3}", f"p{rng.randrange(10)}") for n in range(60)]
    if name == "one user with 100,000 events":
        bot = [(START + n, "bot", f"p{rng.randrange(60)}") for n in range(100_000)]
        return sorted(bot + [(START + 150 * n, f"u{n % 50}", f"p{rng.randrange(60)}") for n in range(600)])
    if name == "everybody buys one thing":
        own = [(START + 900 * n, f"u{n % 40}", f"p{1 + rng.randrange(30)}") for n in range(600)]
        return sorted(own + [(START + 900 * n + 1, f"u{n % 40}", "p0") for n in range(600)])
    if name == "one moment":
        return [(START, f"u{n % 40}", f"p{rng.randrange(30)}") for n in range(600)]
    return [(START + 900 * n, f"👤{n % 40}", f"🍏{rng.randrange(30)}") for n in range(600)]


NAMES = (
    "one product",
    "ten products, three users",
    "one user with 100,000 events",
    "everybody buys one thing",
    "one moment",
    "nothing but chance, and emoji",
)


@pytest.mark.parametrize("name", NAMES)
def test_answers_whatever_there_is(name: str, tmp_path: Path):
    output_lines = lines(name)
    text = "\n".join(f"{time},{user},purchase,{product}" for time, user, product in output_lines)
    (tmp_path / "events.csv").write_text(f"timestamp,user_id,type,product_id\n{text}\n")
    shop = Shop(shops.without_networks(tmp_path / "shop"))
    shop.ingest(events=[tmp_path / "events.csv"])
    release = shop.fit("recommend", budget_minutes=0.2)["recommend"]
    assert release is not None
    assert release.outcome == "promoted"
    most = len({product for _, _, product in output_lines})
    for query in (
        {},
        {"user": output_lines[0][1], "exclude_seen": False},
        {"product_ids": (output_lines[0][2],), "exclude_seen": False},
    ):
        items = shop.recommend(**query, limit=50).items
        assert 0 < len(items) <= most
        assert all(math.isfinite(i.score) for i in items)


def catalogue(path: Path, named: int) -> Path:
    """Forty products, of which so many have a title."""
    rows = [f"p{n},{'kettle' if n < named else ''},steel thing number {n},kitchen" for n in range(40)]
    path.write_text("product_id,title,description,category\n" + "\n".join(rows) + "\n")
    return path


def test_products_without_titles_are_set_aside_and_the_others_are_found(tmp_path: Path):
    shop = Shop(tmp_path / "shop")
    snapshot = shop.ingest(products=[catalogue(tmp_path / "products.csv", 20)])
    assert (snapshot.rows["products"], snapshot.quarantined) == (20, 20)
    assert shop.fit("search")["search"] is not None
    for query in ("steel", "kitchen kettle", "x" * 10_000, "🍏"):
        assert all(math.isfinite(i.score) for i in shop.search(query, limit=50).items)
    assert len(shop.search("steel", limit=50).items) == 20
    with pytest.raises(BadInput, match="no usable row"):
        Shop(tmp_path / "other").ingest(products=[catalogue(tmp_path / "nameless.csv", 0)])
