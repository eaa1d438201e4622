"""Small shops whose right answers are known by construction."""

import csv
import json
import random
from pathlib import Path

DAY = 86_400
START = 1_700_000_000
COLOURS = ("red", "green", "blue", "black")
KINDS = ("shoes", "shirt", "lamp", "chair", "kettle")


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
            kind, colour = KINDS[i % len(KINDS)], COLOURS[i % len(COLOURS)]
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
            x, y, colour = rng.gauss(0, 1), rng.gauss(0, 1), rng.choice(COLOURS)
            shown = "" if rng.random() < 0.1 else f"{x:.4f}"
            out.writerow([shown, f"{y:.4f}", colour, int(x > y or colour == "red")])
    return path
