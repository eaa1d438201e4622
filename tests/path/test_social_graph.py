"""A shop where people take what those whom they follow take: circles with a shelf of their own."""

import json
import random

import msgspec
import pytest
import shops

from vetrina import Shop

CIRCLES = 16
EACH = 24
SHELF = 6
DAYS = 40
START = 1_700_000_000
DAY = 86_400


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    """Half of a circle buys from the first day on, the others one thing on a late day; nobody takes from another shelf."""
    folder = tmp_path_factory.mktemp("friends")
    rng = random.Random(4)
    rows = []
    people = []
    for circle in range(CIRCLES):
        members = [f"m{circle}_{n:02d}" for n in range(EACH)]
        for n, name in enumerate(members):
            days = [*range(n % 4, DAYS, 4)] if n < EACH // 2 else [DAYS - 1 - n % 12]
            rows += [(START + d * DAY + n, name, f"p{circle}_{rng.randrange(SHELF)}") for d in days]
            people.append({"user_id": name, "follows": rng.sample(members[: EACH // 2], 6)})
    # One who buys what nobody else does, followed by somebody who follows nobody else.
    rows += [(START + n, "loner", "secret") for n in range(5)]
    people += [{"user_id": "guest", "follows": [f"m3_{n:02d}" for n in range(5)]}]
    people += [{"user_id": "shadow", "follows": ["loner", "shadow", "nobody at all"]}]
    text = "\n".join(f"{time},{user},purchase,{product}" for time, user, product in sorted(rows))
    (folder / "events.csv").write_text(f"timestamp,user_id,type,product_id\n{text}\n")
    (folder / "users.jsonl").write_text("\n".join(json.dumps(p) for p in people))
    made = Shop(shops.without_networks(folder / "shop"))
    made.ingest(events=[folder / "events.csv"], users=[folder / "users.jsonl"])
    release = made.fit("recommend")["recommend"]
    assert release is not None
    assert release.outcome == "promoted"
    return made


def test_somebody_who_never_came_gets_what_those_whom_they_follow_take(shop: Shop):
    items = shop.recommend(user="guest", limit=5).items
    assert {i.product_id[:3] for i in items} == {"p3_"}
    assert items[0].reasons == ("several people whom you follow took it",)
    assert len({i.product_id.split("_")[0] for i in shop.recommend(limit=20).items}) > 5


def test_what_a_single_person_took_is_not_told(shop: Shop):
    stranger = [i.product_id for i in shop.recommend(limit=20).items]
    assert [i.product_id for i in shop.recommend(user="shadow", limit=20).items] == stranger


def test_validation_chose_the_weight_and_the_version_names_only_pseudonyms(shop: Shop):
    version = shop.champion("recommend")
    tuned = shop.shop_context.registry.get_version(version).training.tuning
    assert tuned.report["arriving"]["alone"]["friends"] > 2 * tuned.report["arriving"]["alone"]["popular"]
    graph_files = [f for f in (shop.folder.root).rglob("*.npy") if "friends" in str(f)]
    assert graph_files
    assert not any(b"m3_0" in f.read_bytes() or "m3_0".encode("utf-32-le") in f.read_bytes() for f in graph_files)
    assert msgspec.json.encode(tuned).find(b"m3_0") < 0
