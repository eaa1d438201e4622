"""Shops with next to nothing, or with nothing to learn: an answer, never a crash."""

import math
import random
from pathlib import Path

import pytest

from vetrina import Shop

START = 1_700_000_000


def lines(name: str) -> list[tuple[int, str, str]]:
    """(time, user, product) of each event."""
    rng = random.Random(0)
    if name == "one product":
        return [(START + 9_000 * n, f"u{n % 20}", "p0") for n in range(60)]
    if name == "ten products, three users":
        return [(START + 9_000 * n, f"u{n % 3}", f"p{rng.randrange(10)}") for n in range(60)]
    return [(START + 900 * n, f"👤{n % 40}", f"🍏{rng.randrange(30)}") for n in range(600)]


@pytest.mark.parametrize("name", ["one product", "ten products, three users", "nothing but chance, and emoji"])
def test_answers_whatever_there_is(name: str, tmp_path: Path):
    found = lines(name)
    text = "\n".join(f"{time},{user},purchase,{product}" for time, user, product in found)
    (tmp_path / "events.csv").write_text(f"timestamp,user_id,type,product_id\n{text}\n")
    shop = Shop(tmp_path / "shop")
    shop.ingest(events=[tmp_path / "events.csv"])
    release = shop.fit("recommend")["recommend"]
    assert release is not None
    assert release.outcome == "promoted"
    most = len({product for _, _, product in found})
    for asked in (
        {},
        {"user": found[0][1], "exclude_seen": False},
        {"product_ids": (found[0][2],), "exclude_seen": False},
    ):
        items = shop.recommend(**asked, limit=50).items
        assert 0 < len(items) <= most
        assert all(math.isfinite(i.score) for i in items)
