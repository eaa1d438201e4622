"""No plain user id, session id or e-mail address lies anywhere in a shop, whichever way it came."""

import csv
import json
import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
import shops
from litestar.testing import TestClient
from sqlalchemy import select, text
from stored_values import holding

from vetrina import Shop
from vetrina.bundle import zstd_file
from vetrina.core.snapshots import Snapshot
from vetrina.reports.version_page import write_version_page
from vetrina.serve.app import create_app
from vetrina.store import event_queries, exposure_queries
from vetrina.store.tables import users
from vetrina.store.upgrade import upgrade_shop

USERS = [*(f"customer-{n:04d}" for n in range(19)), "carla@example.com"]
SESSIONS = [f"visit-of-{n:04d}" for n in range(20)]
HTTP_USER = "customer-over-http"
HTTP_SESSION = "visit-over-http"
FOLLOWED = "customer-who-is-followed"
ADDRESSES = ["mail@example.com", "typed@example.com", "nested@example.org", "lost@example.org", "slipped@example.org"]
PLAIN = ["customer-", "visit-", "example.com", "example.org"]


class Fed(NamedTuple):
    """A shop that was fed ids and addresses in every place where they may stand."""

    shop: Shop
    request_id: str


@pytest.fixture(scope="module")
def fed(tmp_path_factory) -> Fed:
    """Files with broken rows, a version trained on them, answers and events over HTTP, and those ingested in turn."""
    folder = tmp_path_factory.mktemp("privacy")
    files = shops.checkerboard(folder, users=len(USERS), items=12, days=20)
    shop = Shop(folder / "shop")
    shop.ingest(
        products=[files["products"]], events=[events_of(files["events"])], users=[users_beside(files["events"])]
    )
    shop.fit("search")
    with TestClient(create_app(shop.folder.root), base_url="http://127.0.0.1:8337") as client:
        body = {"query": "mail typed@example.com", "user_id": HTTP_USER, "session_id": HTTP_SESSION}
        request_id = client.post("/v1/search", json=body).json()["request_id"]
        client.post("/v1/search", json={"query": "red shoes", "session_id": SESSIONS[0]})
        event = {"user_id": HTTP_USER, "session_id": SESSIONS[0], "type": "view", "product_id": "p001"}
        more = {**event, "event_id": "mail@example.com/7", "query": "typed@example.com"}
        assert client.post("/v1/events", json=[event, more]).json()["new"] == 2
    shop.ingest()
    write_version_page(shop, shop.champion("search"))
    shop.shop_context.engine.dispose()
    return Fed(shop, request_id)


def events_of(given: Path) -> Path:
    """The checkerboard's events with sessions, a second copy of the ids, an address in a note, and rows that are set aside."""
    rows = []
    with given.open(newline="") as file:
        for n, row in enumerate(csv.DictReader(file)):
            user = int(row["user_id"][1:])
            note = "call mail@example.com" if n == 3 else "none"
            named = {"user_id": USERS[user], "session_id": SESSIONS[user], "customer": USERS[user], "note": note}
            rows.append({**row, **named})
    rows.append({**rows[0], "timestamp": "not a time", "note": "lost@example.org"})
    rows.append({**rows[0], "timestamp": USERS[4], "user_id": "view", "type": "slipped@example.org"})
    path = given.with_name("events-with-ids.csv")
    pl.DataFrame(rows).write_csv(path)
    return path


def users_beside(given: Path) -> Path:
    """Users with addresses, also where nobody looks for them, and the ids of those whom they follow."""
    rows = [
        {"user_id": user, "email": "mail@example.com", "follows": [USERS[0], FOLLOWED], "device": "phone"}
        for user in USERS
    ]
    rows[1]["contact"] = {"private": "nested@example.org"}
    rows[2]["follows"] = None
    rows.append({"user_id": None, "email": "lost@example.org", "follows": [], "device": "phone"})
    path = given.with_name("users.jsonl")
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_nothing_in_a_shop_is_plain(fed):
    assert holding(fed.shop.folder.root, PLAIN) == {}


def test_what_was_looked_through_holds_the_pseudonyms(fed):
    """Otherwise nothing plain would be found because nothing at all was read."""
    root = fed.shop.folder.root
    keys = fed.shop.folder.keys
    user = keys.pseudonymise(USERS[3])
    session = keys.name_of_session(SESSIONS[0])
    for place in ("lake", "snapshots", "bundles"):
        assert holding(root / place, [user]), place
    for place in ("lake", "snapshots"):
        assert holding(root / place, [session]), place
    assert list(holding(root, [keys.name_of_session(HTTP_SESSION)])) == ["store.db"]
    assert len(list((root / "lake" / "quarantine").iterdir())) == 2
    assert list((root / "reports").iterdir())


def test_a_session_has_one_name_whichever_way_it_came(fed):
    shop = fed.shop
    engine = fed.shop.shop_context.engine
    session = shop.folder.keys.name_of_session(SESSIONS[0])
    lake = pl.concat(
        [pl.read_parquet(f) for f in (shop.folder.lake / "events").iterdir()], how="diagonal_relaxed"
    ).filter(pl.col("session_id") == session)
    assert set(lake["user_id"]) == {shop.folder.keys.pseudonymise(USERS[0]), shop.folder.keys.pseudonymise(HTTP_USER)}
    answers = exposure_queries.list_exposures(engine, "search", 0.0, 1e12)
    assert {answer.session for answer in answers} == {session, shop.folder.keys.name_of_session(HTTP_SESSION)}
    assert len(event_queries.recent_events(engine, None, session, 0.0, 0)) == 2
    assert shop.folder.keys.pseudonymise(SESSIONS[0]) not in session, "a user with the id of a session is somebody else"
    engine.dispose()


def test_what_somebody_followed_joins_what_they_were_shown(fed):
    engine = fed.shop.shop_context.engine
    answers = exposure_queries.list_exposures(engine, "search", 0.0, 1e12, with_items=True)
    (answer,) = [answer for answer in answers if answer.request_id == fed.request_id]
    query = msgspec.json.decode(answer.request_json)["query"]
    assert query == fed.shop.folder.keys.pseudonymise("mail typed@example.com")
    engine.dispose()


def test_only_people_are_kept_as_users(fed):
    """Sealed, so that an audience can be told; a list in JSON names nobody but those in it."""
    keys = fed.shop.folder.keys
    engine = fed.shop.shop_context.engine
    with engine.connect() as connection:
        sealed = connection.execute(select(users.c.sealed_id)).scalars().all()
    assert {keys.unseal(one) for one in sealed} == {*USERS, HTTP_USER, FOLLOWED}
    engine.dispose()


def test_what_an_earlier_version_wrote_is_brought_in_line(fed, tmp_path):
    root = shutil.copytree(fed.shop.folder.root, tmp_path / "shop")
    before = ingested(root)
    made_plain(root, fed.shop)
    assert {Path(name).parts[0] for name in holding(root, PLAIN)} == {"lake", "snapshots", "store.db"}

    upgrade_shop(f"sqlite:///{root / 'store.db'}", fed.shop.folder.keys)
    after = ingested(root)
    assert holding(root, PLAIN) == {}
    assert (after.digest, after.rows, after.quarantined) == (before.digest, before.rows, before.quarantined)
    session = fed.shop.folder.keys.name_of_session(SESSIONS[0])
    assert holding(root / "lake", [session])
    assert holding(root / "snapshots", [session])
    aside = pl.read_csv(root / "lake" / "quarantine" / "earlier.csv")
    assert aside.select("_row", "_reason").rows() == [(7, "timestamp is missing or no time")]

    was = {file: file.read_bytes() for file in root.rglob("*.parquet")}
    forget_pseudonymous(root)  # as if it had been cut off at its last step
    ingested(root)
    assert {file: file.read_bytes() for file in root.rglob("*.parquet")} == was


def ingested(root: Path) -> Snapshot:
    """The snapshot of all that is there; the store is closed again."""
    shop = Shop(root)
    snapshot = shop.ingest()
    shop.shop_context.engine.dispose()
    return snapshot


def made_plain(root: Path, shop: Shop) -> None:
    """Write the shop back as it was before session ids were pseudonyms."""
    people = {shop.folder.keys.pseudonymise(user): user for user in (*USERS, HTTP_USER)}
    plain = {shop.folder.keys.name_of_session(session): session for session in (*SESSIONS, HTTP_SESSION)}
    for file in (*root.glob("lake/events/*.parquet"), *root.glob("snapshots/*/events.parquet")):
        rows = pl.read_parquet(file)
        note = pl.lit("write to typed@example.com").alias("note")
        customer = pl.col("user_id").replace(people).alias("customer")
        rows = rows.with_columns(pl.col("session_id").replace(plain), customer, note)
        rows.write_parquet(file.with_suffix(".new"))
        file.with_suffix(".new").rename(file)
    values = "_row,note,user_id,_reason\n7,lost@example.org,customer-0003,timestamp is missing or no time\n"
    (root / "lake" / "quarantine" / "earlier.csv").write_text(values)
    forget_pseudonymous(root)
    engine = Shop(root).shop_context.engine
    with engine.begin() as connection:
        for pseudonym, session in plain.items():
            names = {"pseudonym": pseudonym, "session": session}
            connection.execute(text("UPDATE exposures SET session = :session WHERE session = :pseudonym"), names)
            connection.execute(
                text("UPDATE events SET session = :session, body = replace(body, :pseudonym, :session) "
                     "WHERE session = :pseudonym"), names,
            )  # fmt: skip
        connection.execute(text("UPDATE schema_version SET version = 2"))
    engine.dispose()


def forget_pseudonymous(root: Path) -> None:
    """The list of parts as an earlier version wrote it."""
    parts = json.loads((root / "lake" / "parts.json").read_text())
    for part in parts:
        del part["pseudonymous"]
    (root / "lake" / "parts.json").write_text(json.dumps(parts))


def parquet(compression: str):
    """A writer of a Parquet file in which many values are alike."""

    def write(folder: Path, value: str) -> None:
        rows = pl.DataFrame({"user_id": [f"{value[:-1]}{n % 10}" for n in range(5_000)] + [value]})
        rows.write_parquet(folder / "planted", compression=compression)

    return write


def database(folder: Path, value: str) -> None:
    """A table with a cell of bytes."""
    connection = sqlite3.connect(folder / "planted")
    connection.execute("CREATE TABLE t (a, b)")
    connection.execute("INSERT INTO t VALUES (1, ?)", (value.encode(),))
    connection.commit()
    connection.close()


WRITERS = {
    "parquet, lz4": parquet("lz4"),
    "parquet, zstd": parquet("zstd"),
    "text array": lambda folder, value: np.save(folder / "planted.npy", np.array(["x", value])),
    "array of bytes": lambda folder, value: np.save(folder / "planted.npy", np.array([value.encode()])),
    "packed arrays": lambda folder, value: np.savez_compressed(folder / "planted.npz", a=np.array([value])),
    "zstd": lambda folder, value: zstd_file.write(folder / "planted", (value * 50).encode()),
    "database": database,
    "json": lambda folder, value: (folder / "planted").write_text(json.dumps({"a": [value]})),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_the_reader_finds_what_is_planted(tmp_path, write):
    """The control: a plain id in any of these forms would be noticed."""
    write(tmp_path, "customer-0007")
    assert list(holding(tmp_path, ["customer-0007"]).values()) == ["customer-0007"]
    assert holding(tmp_path, ["customer-0008x"]) == {}
