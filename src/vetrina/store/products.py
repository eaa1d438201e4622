"""The change log of the catalogue: every worker follows it by sequence number."""

from typing import Any

import msgspec
from sqlalchemy import Engine, insert, select

from vetrina.store.database import append_alone
from vetrina.store.tables import product_changes


def put(engine: Engine, products: list[dict[str, Any]]) -> int:
    """Append new or changed products; returns the last sequence number."""
    return _append(engine, [{"product_id": p["product_id"], "body": msgspec.json.encode(p).decode()} for p in products])


def delete(engine: Engine, product_id: str) -> int:
    """Append a deletion; returns its sequence number."""
    return _append(engine, [{"product_id": product_id, "body": None}])


def changes(engine: Engine, seq: int, most: int = 100_000) -> list[tuple[int, str, dict[str, Any] | None]]:
    """(sequence, product_id, product or None for deleted) after a number, in order."""
    query = select(product_changes).where(product_changes.c.seq > seq).order_by(product_changes.c.seq).limit(most)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    return [(r.seq, r.product_id, msgspec.json.decode(r.body) if r.body else None) for r in rows]


def after(engine: Engine, seq: int) -> tuple[list[dict[str, Any]], int]:
    """The next changes as rows of the products table, deletions marked, and the number of the last of them."""
    found = changes(engine, seq)
    rows = [
        {"product_id": product_id, "title": product_id, "_deleted": True}
        if body is None
        else body | {"_deleted": False}
        for _, product_id, body in found
    ]
    return rows, found[-1][0] if found else seq


def _append(engine: Engine, rows: list[dict[str, Any]]) -> int:
    last = 0
    with engine.begin() as connection:
        append_alone(connection, "products")
        for row in rows:
            key = connection.execute(insert(product_changes).values(row)).inserted_primary_key
            last = key[0] if key else last
    return last
