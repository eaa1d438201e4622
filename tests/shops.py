"""Small shops whose right answers are known by construction."""

import csv
import json
import random
from pathlib import Path
from typing import Any

from vetrina.store import event_queries
from vetrina.store.database import open_store
from vetrina.store.shop_folder import ShopFolder

DAY = 86_400
START = 1_700_000_000
COLOURS = ("red", "green", "blue", "black")
KINDS = ("shoes", "shirt", "lamp", "chair", "kettle")
# For tests whose question depends neither on networks nor on how busy this machine is.
WITHOUT_NETWORKS = """
[train]
exclude_models = ["sasrec", "gru", "mlp", "dcn"]
[gate]
latency_ms = 1e6
"""


def without_networks(folder: Path, more: str = "") -> Path:
    """The folder of a shop whose runs train no network; ``more`` are further settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vetrina.toml").write_text(WITHOUT_NETWORKS + more)
    return folder


def checkerboard(folder: Path, users: int = 60, items: int = 40, days: int = 60, seed: int = 7) -> dict[str, Path]:
    """Even users take even products, odd users odd ones, in the order of their numbers, round and round.

    So what a user takes next is known: the next product of the same parity.
    """
    rng = random.Random(seed)
    products = folder / "products.csv"
    with products.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["product_id", "title", "category", "brand", "price", "stock"])
        for i in range(items):
            kind = KINDS[i % len(KINDS)]
            colour = COLOURS[i % len(COLOURS)]
            out.writerow([f"p{i:03d}", f"{colour} {kind} number {i}", f"home > {kind}", f"brand{i % 3}", 5 + i, 10])
    events = folder / "events.csv"
    with events.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["timestamp", "user_id", "type", "product_id"])
        for user in range(users):
            at = rng.randrange(items // 2)
            for day in range(days):
                item = 2 * (at % (items // 2)) + user % 2
                out.writerow([START + day * DAY + user, f"u{user:03d}", "purchase", f"p{item:03d}"])
                at += 1
    return {"products": products, "events": events}


def judged(folder: Path) -> Path:
    """Every colour-kind query with exactly the products of that colour and kind graded 3."""
    path = folder / "judgments.jsonl"
    rows = []
    for colour in COLOURS:
        for kind in KINDS:
            for i in range(40):
                same = KINDS[i % len(KINDS)] == kind and COLOURS[i % len(COLOURS)] == colour
                if same:
                    rows.append({"query": f"{colour} {kind}", "product_id": f"p{i:03d}", "grade": 3})
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return path


def table(folder: Path, rows: int = 600, seed: int = 3) -> Path:
    """The label is true when ``x`` is above ``y`` or the colour is red; a tenth of ``x`` is missing."""
    rng = random.Random(seed)
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["x", "y", "colour", "label"])
        for _ in range(rows):
            x = rng.gauss(0, 1)
            y = rng.gauss(0, 1)
            colour = rng.choice(COLOURS)
            cell = "" if rng.random() < 0.1 else f"{x:.4f}"
            out.writerow([cell, f"{y:.4f}", colour, int(x > y or colour == "red")])
    return path


def launching(folder: Path, seed: int = 5) -> dict[str, Path]:
    """Eighty users, each a lover of one kind. Those with an odd number buy old products day by day; those with an even number
    buy less, but most new products of their kind within two days.

    A product of some kind is launched every day, two of each kind in the last days. So who buys one nobody has seen is known:
    the even lovers of its kind.
    """
    rng = random.Random(seed)
    days = 120
    products = []
    events = []
    for n in range(40):
        products.append((f"old{n:03d}", KINDS[n % 4], 0))
    for day in range(days):
        products.append((f"new{day:03d}", KINDS[day % 4], day))
    for user in range(80):
        kind = KINDS[user // 2 % 4]
        for day in range(0, days, 4 if user % 2 == 0 else 1):
            item = rng.choice([p for p in products[:40] if p[1] == kind or rng.random() < 0.1])
            events.append((START + day * DAY + 60 * user, f"u{user:03d}", item[0]))
    for name, kind, day in products[40:]:
        for user in range(80):
            wants = user % 2 == 0 and KINDS[user // 2 % 4] == kind
            if wants and rng.random() < 0.7:
                events.append((START + day * DAY + rng.randrange(2 * DAY), f"u{user:03d}", name))
    files = {"products": folder / "products.csv", "events": folder / "events.csv", "users": folder / "users.csv"}
    _csv(
        files["products"],
        ["product_id", "title", "category", "brand", "price"],
        [(name, f"{kind} {name}", f"home > {kind}", "Alder", 9) for name, kind, _ in products],
    )
    _csv(
        files["events"],
        ["timestamp", "user_id", "type", "product_id"],
        [(t, u, "purchase", p) for t, u, p in sorted(events)],
    )
    _csv(
        files["users"],
        ["user_id", "email", "consent"],
        [
            (f"u{u:03d}", f" U{u:03d}@Example.com ", "no" if u in (0, 8) else "email, push, csv, webhook")
            for u in range(80)
        ],
    )
    return files


def advertising(folder: Path, until: float, seed: int = 6) -> dict[str, Path]:
    """A hundred and twenty users who come with something in mind, look at three products of that kind and are shown an ad.

    The ad is clicked by half if it is of that kind and by one in thirty if not; a third of the clicks end in a purchase. So what
    somebody looks at now tells which ad they will click. ``until`` is when the log ends.
    """
    rng = random.Random(seed)
    days = 60
    kinds = KINDS[:4]
    products = [(f"p{n:03d}", kinds[n % 4]) for n in range(48)]
    ads = [(f"a{n}", products[n][0], (1.0, 0.5)[n // 4], f"c{n % 4}") for n in range(8)]
    kind_of = dict(products)
    events = []
    for user in range(120):
        for day in range(days):
            if rng.random() < 0.5:
                continue
            moment = until - (days - day) * DAY + rng.randrange(DAY // 2)
            mood = kinds[user % 4] if rng.random() < 0.5 else rng.choice(kinds)
            who = f"u{user:03d}"
            for look in range(3):
                seen = rng.choice([p for p, kind in products if kind == mood])
                events.append((moment + 30 * look, who, "view", seen, ""))
            product = rng.choice(ads)[1]
            events.append((moment + 100, who, "ad_impression", product, 1))
            if rng.random() < (0.5 if kind_of[product] == mood else 1 / 30):
                events.append((moment + 110, who, "ad_click", product, 1))
                if rng.random() < 1 / 3:
                    events.append((moment + 300, who, "purchase", product, ""))
    files = {name: folder / f"{name}.csv" for name in ("products", "events", "ads")}
    _csv(
        files["products"],
        ["product_id", "title", "category", "brand", "price", "stock"],
        [(name, f"{kind} {name}", f"home > {kind}", "Alder", 9, 10) for name, kind in products],
    )
    _csv(files["events"], ["timestamp", "user_id", "type", "product_id", "position"], sorted(events))
    columns = ["ad_id", "product_id", "bid", "campaign_id", "daily_budget", "frequency_cap"]
    _csv(files["ads"], columns, [(a, p, bid, c, 3.0, 4) for a, p, bid, c in ads])
    return files


def _csv(path: Path, columns: list[str], rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(rows)


def as_server(client: Any) -> Any:
    """The client, sending the shop's token: its events are not capped, and may be of the past."""
    client.headers["authorization"] = f"Bearer {client.app.state.service.keys.api_token}"
    return client


def stored_event_ids(folder: Path) -> list[str]:
    """The ids of all events in the log of a shop's store, in its order."""
    shop = ShopFolder(folder)
    engine = open_store(shop.store_url, shop.keys)
    event_ids: list[str] = []
    rows, seq = event_queries.lake_rows_after(engine, 0)
    while rows:
        event_ids += [row["event_id"] for row in rows]
        rows, seq = event_queries.lake_rows_after(engine, seq)
    engine.dispose()
    return event_ids
