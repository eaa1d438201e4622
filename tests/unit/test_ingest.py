"""Ingest: same input same digest, broken rows aside, one clear line for what cannot be read."""

import json
import random
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import shops

from vetrina import Shop
from vetrina.core.errors import BadInput
from vetrina.core.snapshots import Snapshot
from vetrina.data import dataset
from vetrina.store.shop_folder import ShopFolder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A small checkerboard."""
    return shops.checkerboard(tmp_path, users=10, items=8, days=12)


def same_keys(tmp_path: Path, name: str) -> Shop:
    """Shops that share keys, so that pseudonyms can be compared."""
    shop = Shop(tmp_path / name)
    first = ShopFolder(tmp_path / "keys-of-all").keys
    shop.folder.__dict__["keys"] = first
    return shop


def test_order_format_and_repetition_change_nothing(tmp_path, files):
    lines = files["events"].read_text().splitlines()
    body = lines[1:]
    random.Random(1).shuffle(body)
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([lines[0], *body, body[0], body[3]]))
    records = tmp_path / "events.jsonl"
    pl.read_csv(files["events"]).write_ndjson(records)
    parquet = tmp_path / "events.parquet"
    pl.read_csv(files["events"]).write_parquet(parquet)
    halves = tmp_path / "first.csv", tmp_path / "second.csv"
    halves[0].write_text("\n".join([lines[0], *body[: len(body) // 2]]))
    halves[1].write_text("\n".join([lines[0], *body[len(body) // 3 :]]))
    given = [[files["events"]], [shuffled], [records], [parquet], [*halves], [halves[1], halves[0]]]
    snapshots = [same_keys(tmp_path, f"s{i}").ingest(events=g) for i, g in enumerate(given)]
    assert len({snapshot.digest for snapshot in snapshots}) == 1
    learnt_from = [learning(snapshot) for snapshot in snapshots]
    for other in learnt_from[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(learnt_from[0], other, strict=True))


def learning(snapshot: Snapshot) -> tuple[np.ndarray, ...]:
    """What models are given of the events."""
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    events = dataset.interactions(snapshot, catalogue, 1e12)
    assert events is not None
    return events.users, events.user, events.item, events.time, events.weight


def test_events_of_one_moment_are_read_in_one_order(tmp_path):
    """A basket has one time; the order of its lines in a file must not reach the models."""
    rows = [f"{shops.START},u{n % 3},purchase,p{n}" for n in range(40)]
    rows += rows[:5]
    orders = []
    for turn in range(3):
        random.Random(turn).shuffle(rows)
        file = tmp_path / f"{turn}.csv"
        file.write_text("\n".join(["timestamp,user_id,type,product_id", *rows]))
        orders.append(same_keys(tmp_path, f"s{turn}").ingest(events=[file]))
    assert {(s.digest, s.rows["events"]) for s in orders} == {(orders[0].digest, 40)}
    assert [s.tolist() for s in learning(orders[0])] == [s.tolist() for s in learning(orders[1])]
    assert [s.tolist() for s in learning(orders[0])] == [s.tolist() for s in learning(orders[2])]


def test_words_for_nothing_are_nothing_and_words_that_hold_them_stay(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text(
        "product_id,title,brand,colour\nNA1,Nan bread,NA,null\n2,None of it,,N/A\n3,Chair,Nanny,blue\nNA,Lamp,x,y\n"
    )
    shop = Shop(tmp_path / "shop")
    snapshot = shop.ingest(products=[file])
    frame = pl.read_parquet(snapshot.folder / "products.parquet").sort("product_id")
    assert frame["product_id"].to_list() == ["2", "3", "NA1"]
    assert frame["brand"].to_list() == [None, "Nanny", None]
    assert frame["colour"].to_list() == [None, "blue", None]
    assert snapshot.quarantined == 1


def test_giving_a_file_twice_adds_nothing(tmp_path, files):
    shop = Shop(tmp_path / "shop")
    first = shop.ingest(**{k: [v] for k, v in files.items()})
    again = shop.ingest(**{k: [v] for k, v in files.items()})
    assert (first.added, again.added) == (2, 0)
    assert first.digest == again.digest


def test_later_products_replace_earlier_and_event_ids_count_once(tmp_path, files):
    shop = Shop(tmp_path / "shop")
    shop.ingest(products=[files["products"]])
    newer = tmp_path / "newer.csv"
    newer.write_text("product_id,title\np000,New name\nextra,Added\n")
    events = tmp_path / "e.jsonl"
    row = {"timestamp": shops.START, "user_id": "a", "type": "view", "product_id": "p000", "event_id": "1"}
    events.write_text("\n".join(json.dumps(r) for r in (row, row, {**row, "event_id": "2"})))
    snapshot = shop.ingest(products=[newer], events=[events])
    titles = dict(pl.read_parquet(snapshot.folder / "products.parquet").select("product_id", "title").iter_rows())
    assert titles["p000"] == "New name"
    assert len(titles) == 9
    assert snapshot.rows["events"] == 2


def test_a_broken_row_is_set_aside_with_its_reason_and_number(tmp_path):
    events = tmp_path / "events.csv"
    good = [f"{shops.START + i},u{i % 5},purchase,p{i}" for i in range(50)]
    bad = ["not a time,u1,purchase,p1", f"{shops.START},,purchase,p1", "99999999999,u1,view,p1"]
    events.write_text("\n".join(["timestamp,user_id,type,product_id", *good[:20], *bad, *good[20:]]))
    snapshot = Shop(tmp_path / "shop").ingest(events=[events])
    assert snapshot.rows["events"] == 50
    assert snapshot.quarantined == 3
    aside = pl.read_csv(next((tmp_path / "shop/lake/quarantine").glob("*.csv")))
    assert aside["_row"].to_list() == [20, 21, 22]
    assert "timestamp" in aside["_reason"][0]
    assert "user_id" in aside["_reason"][1]
    assert "ahead" in aside["_reason"][2]
    assert aside["file"].to_list() == ["events.csv"] * 3
    assert aside["column"].to_list() == ["timestamp", "user_id", "timestamp"]
    assert aside["pattern"].to_list() == ["aaa a aaaa", None, "99999999999"]


def test_of_a_broken_row_no_value_is_kept(tmp_path):
    """A row that slipped may hold an address or an id under any column."""
    users = tmp_path / "users of anna@example.com.csv"
    users.write_text("user_id,email,device\nanna,anna@example.com,phone\n,berta@example.com,Björn's № 7,carla\n")
    events = tmp_path / "events.csv"
    events.write_text(f"timestamp,user_id,type\n{shops.START},anna,view\nBjörn's № 7 <b@c.de>,anna,view\n")
    Shop(tmp_path / "shop").ingest(users=[users], events=[events])
    aside = [file.read_text() for file in sorted((tmp_path / "shop/lake/quarantine").glob("*.csv"))]
    assert len(aside) == 2
    assert "aaaaa?a ? 9 ?a?a.aa?" in aside[0]
    assert "more fields" in aside[1]
    for word in ("anna", "berta", "carla", "Björn", "b@c.de", "@"):
        assert not any(word in text for text in aside), word


def test_ids_and_addresses_in_other_columns_are_not_kept(tmp_path):
    events = tmp_path / "events.jsonl"
    rows = [
        {"timestamp": shops.START + n, "user_id": n, "session_id": f"s{n}", "type": "view", "product_id": f"{n}"}
        | {"customer": n, "visit": f"s{n}", "amount": 3, "note": {"to": "a@example.com"} if n else None}
        for n in range(3)
    ]
    rows[1]["type"] = "b@example.com"
    events.write_text("\n".join(json.dumps(row) for row in rows))
    shop = Shop(tmp_path / "shop")
    frame = pl.read_parquet(shop.ingest(events=[events]).folder / "events.parquet").sort("timestamp")
    keys = shop.folder.keys
    assert frame.columns == ["amount", "note", "product_id", "session_id", "timestamp", "type", "user_id"]
    assert frame["user_id"].to_list() == [keys.pseudonymise("0"), keys.pseudonymise("1"), keys.pseudonymise("2")]
    assert frame["session_id"].to_list() == [keys.name_of_session(f"s{n}") for n in range(3)]
    assert frame["product_id"].to_list() == ["0", "1", "2"], "a product may be called as a user is"
    assert frame["type"].to_list() == ["view", keys.pseudonymise("b@example.com"), "view"]
    assert frame["note"].to_list() == [None, *[keys.pseudonymise('{"to":"a@example.com"}')] * 2]
    assert frame["amount"].to_list() == [3, 3, 3]


def test_times_are_read_in_every_common_form(tmp_path):
    events = tmp_path / "events.csv"
    forms = [
        "2023-11-14T22:13:20", "2023-11-14 22:13:20", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00",
        "1700000000", "1700000000000", "1700000000.0", "2023-11-14 22:13:20.000",
    ]  # fmt: skip
    events.write_text("timestamp,user_id,type\n" + "\n".join(f"{f},u{i},view" for i, f in enumerate(forms)))
    snapshot = Shop(tmp_path / "shop").ingest(events=[events])
    times = pl.read_parquet(snapshot.folder / "events.parquet")["timestamp"].unique()
    assert times.to_list() == [datetime(2023, 11, 14, 22, 13, 20)]


def test_columns_are_mapped_by_the_settings(tmp_path):
    shop = Shop(tmp_path / "shop")
    shop.folder.root.mkdir()
    (shop.folder.root / "vetrina.toml").write_text('[columns.products]\nproduct_id = "sku"\ntitle = "name"\n')
    (tmp_path / "p.csv").write_text("sku,name,colour\n1,Lamp,red\n")
    snapshot = shop.ingest(products=[tmp_path / "p.csv"])
    assert pl.read_parquet(snapshot.folder / "products.parquet").columns == ["colour", "product_id", "title"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.csv", None, "does not exist"),
        ("empty.csv", "", "is empty"),
        ("header.csv", "product_id,title\n", "no rows"),
        ("wrong.csv", "id,name\n1,Lamp\n", "'product_id'"),
        ("odd.xlsx", "PK", "is not .csv"),
        ("broken.parquet", "not parquet", "cannot be read as parquet"),
        ("blank.csv", "product_id,title\n,\n", "no usable row"),
    ],
)
def test_what_cannot_be_read_gets_one_line_and_leaves_nothing(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    shop = Shop(tmp_path / "shop")
    with pytest.raises(BadInput) as refused:
        shop.ingest(products=[path])
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "shop/lake/parts.json").exists()


def test_numbers_that_are_none_and_endless_names(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(f"product_id,title,price,category\n1,Lamp,inf,a\n2,Chair,NaN,{'x' * 10_000}\n3,Rug,-3,b\n")
    shop = Shop(tmp_path / "shop")
    frame = pl.read_parquet(shop.ingest(products=[path]).folder / "products.parquet")
    assert frame["price"].to_list() == [None, None, -3.0]
    assert frame["category"].str.len_chars().max() == 2_000
    checks = {c.name: c for c in shop.validate("search").checks}
    assert checks["bad_prices"].status == "WARN"
    assert checks["bad_prices"].first == "3"
    assert checks["long_text"].first == "2"


def test_settings_with_a_wrong_entry_name_it(tmp_path):
    shop = Shop(tmp_path / "shop")
    shop.folder.root.mkdir()
    (shop.folder.root / "vetrina.toml").write_text("[gate]\nmargn = 0.1\n")
    with pytest.raises(BadInput, match="margn"):
        _ = shop.folder.settings


def test_holdout_days_shrink_with_a_short_log(tmp_path, files):
    cuts = Shop(tmp_path / "shop").ingest(events=[files["events"]]).cuts
    assert cuts is not None
    assert cuts.end - cuts.holdout == pytest.approx(0.1 * 11 * shops.DAY, rel=0.01)
    assert cuts.validation < cuts.holdout < cuts.end


def test_a_log_with_a_hole_is_held_back_where_it_is_dense(tmp_path, files):
    whole = Shop(tmp_path / "whole").ingest(events=[files["events"]]).cuts
    late = tmp_path / "late.csv"
    late.write_text(f"timestamp,user_id,type,product_id\n{shops.START + 800 * shops.DAY},u000,purchase,p000\n")
    holed = Shop(tmp_path / "holed").ingest(events=[files["events"], late]).cuts
    assert whole is not None
    assert holed is not None
    assert holed.end - holed.holdout > 700 * shops.DAY, "one event years later is no holdout of its own"
    assert abs(holed.holdout - whole.holdout) < 2 * shops.DAY


def test_other_users_ids_are_pseudonyms_too(tmp_path):
    users = tmp_path / "users.csv"
    users.write_text('user_id,email,friends,device\nanna,a@b.c,"[""berta"", ""carla""]",phone\nberta,,,web\n')
    shop = Shop(tmp_path / "shop")
    frame = pl.read_parquet(shop.ingest(users=[users]).folder / "users.parquet")
    names = dict(frame.select("user_id", "friends").iter_rows())
    name = shop.folder.keys.pseudonymise
    assert names[name("anna")] == f"{name('berta')} {name('carla')}"
    assert names[name("berta")] is None
    assert "email" not in frame.columns


def test_lists_of_users_in_json_name_those_in_them_and_nobody_else(tmp_path):
    rows = [{"user_id": "anna", "follows": ["berta", "carla"]}, {"user_id": "berta", "follows": None}]
    users = tmp_path / "users.jsonl"
    users.write_text("\n".join(json.dumps(row) for row in rows))
    shop = Shop(tmp_path / "shop")
    frame = pl.read_parquet(shop.ingest(users=[users]).folder / "users.parquet")
    name = shop.folder.keys.pseudonymise
    assert dict(frame.select("user_id", "follows").iter_rows()) == {
        name("anna"): f"{name('berta')} {name('carla')}",
        name("berta"): None,
    }


def test_ads_are_taken_with_their_times(tmp_path):
    ads = tmp_path / "ads.jsonl"
    ads.write_text('{"ad_id": "a", "product_id": "p", "bid": 0.4, "starts_at": "2026-01-01", "daily_budget": 20}')
    frame = pl.read_parquet(Shop(tmp_path / "shop").ingest(ads=[ads]).folder / "ads.parquet")
    assert frame.row(0, named=True)["starts_at"] == datetime(2026, 1, 1)


def test_rows_with_too_many_or_too_few_fields_are_set_aside_and_quoted_commas_are_not(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('product_id,title,price\n1,Lamp,3\n2,Lamp, red,4\n3,"Lamp, blue",5\n4\n5,"two\nlines",6\n')
    shop = Shop(tmp_path / "shop")
    snapshot = shop.ingest(products=[path])
    frame = pl.read_parquet(snapshot.folder / "products.parquet")
    assert frame["title"].to_list() == ["Lamp", "Lamp, blue", "two\nlines"]
    assert frame.columns == ["price", "product_id", "title"]
    aside = pl.read_csv(next((tmp_path / "shop/lake/quarantine").glob("*.csv")))
    assert aside["_row"].to_list() == [1, 3]
    assert "more fields" in aside["_reason"][0]
    table = tmp_path / "t.csv"
    table.write_text("x,label\n1,0\n2,1,9\n")
    with pytest.raises(BadInput, match="row 1"):
        shop.ingest(table=table)


def test_a_cell_that_is_no_number_changes_no_other(tmp_path):
    """With it the column is read as text, without it as numbers: the others must come out the same."""
    prices = [" 1.5", "2.25", "3e2", "0.1", "1234567.891", "", "7 "]
    rows = [f"{1_700_000_000 + n},u{n},purchase,p{n},{price}" for n, price in enumerate(prices)]
    read = []
    for name, last in (("numbers", "8"), ("text", "eight")):
        file = tmp_path / f"{name}.csv"
        file.write_text(
            "\n".join(["timestamp,user_id,type,product_id,price", *rows, f"1700000099,u9,purchase,p9,{last}"])
        )
        snapshot = Shop(tmp_path / name).ingest(events=[file])
        read.append(pl.read_parquet(snapshot.folder / "events.parquet")["price"].to_list())
    assert read[0][:-1] == read[1][:-1] == [1.5, 2.25, 300.0, 0.1, 1234567.891, None, 7.0]
    assert (read[0][-1], read[1][-1]) == (8.0, None)


def test_sequences_of_a_few_steps_are_held_back_by_their_last_steps(tmp_path):
    """Days from the settings would hold back all of them: nobody has more than nine steps."""
    rows = [
        f"{shops.START - (5 + u % 5 - step) * shops.DAY},u{u},purchase,p{(u + step) % 30}"
        for u in range(60)
        for step in range(5 + u % 5)
    ]
    file = tmp_path / "steps.csv"
    file.write_text("\n".join(["timestamp,user_id,type,product_id", *rows]))
    cuts = Shop(tmp_path / "shop").ingest(events=[file]).cuts
    assert cuts is not None
    last = shops.START - shops.DAY
    assert last - 2 * shops.DAY < cuts.validation <= last - shops.DAY < cuts.holdout <= last < cuts.end


def test_events_of_one_moment_are_parted_by_chance(tmp_path):
    rows = [f"{shops.START},u{n % 20},purchase,p{n // 20}" for n in range(600)]
    file = tmp_path / "one.csv"
    file.write_text("\n".join(["timestamp,user_id,type,product_id", *rows]))
    shop = Shop(tmp_path / "shop")
    snapshot = shop.ingest(events=[file])
    catalogue = dataset.catalogue(snapshot)
    assert snapshot.cuts is not None
    assert catalogue is not None
    fitted = dataset.interactions(snapshot, catalogue, snapshot.cuts.validation)
    targets = dataset.targets(snapshot, catalogue, snapshot.cuts.holdout, snapshot.cuts.end)
    assert fitted is not None
    assert targets is not None
    assert len(fitted) == 480
    assert sum(map(len, targets.items)) == 60
    assert len(targets.user_ids) > 15, "nearly every user has some of what is held back"
