"""A shop written by an earlier version still opens, answers as it did, and goes on."""

import json
import tarfile
from pathlib import Path

import pytest
import shops

from vetrina import Shop

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("shop-*.tar.gz"))


@pytest.mark.parametrize("archive", FIXTURES, ids=lambda p: p.name)
def test_opens_answers_and_goes_on(archive: Path, tmp_path: Path):
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    expected = json.loads((tmp_path / "expected.json").read_text())
    shop = Shop(tmp_path / "shop")
    answer = shop.recommend(product_ids=("p000", "p002"), placement="cart", limit=3)
    assert [i.product_id for i in answer.items] == expected["recommend"]
    assert shop.predict([[2.0, -2.0, "blue"]])[0]["probability"] == pytest.approx(expected["probability"], abs=0.02)
    assert [e["to"] for e in shop.workshop.registry.promotions("recommend")] == expected["promoted"]
    more = tmp_path / "more.csv"
    lines = [f"{shops.START + 100 * shops.DAY + u},u{u:03d},purchase,p{u % 8:03d}" for u in range(10)]
    more.write_text("timestamp,user_id,type,product_id\n" + "\n".join(lines))
    shop.ingest(events=[more])
    release = shop.fit("recommend")["recommend"]
    assert release is not None
    assert release.mode == "offline"


def test_there_is_a_shop_of_every_release():
    assert [p.name for p in FIXTURES][:1] == ["shop-0.1.0.tar.gz"]
