"""The change log of the catalogue: every worker follows it by sequence number."""

from typing import Any

import msgspec
from sqlalchemy import Engine, insert, select

from vetrina.store.tables import product_changes


def put(engine: Engine, products: list[dict[str, Any]]) -> int:
    """Append new or changed products; returns the last sequence number."""
    return _append(engine, [{"product_id": p["product_id"], "body": msgspec.json.encode(p).decode()} for p in products])


def delete(engine: Engine, product_id: str) -> int:
    """Append a deletion; returns its sequence number."""
    return _append(engine, [{"product_id": product_id, "body": None}])


def changes(engine: Engine, after: int) -> list[tuple[int, str, dict[str, Any] | None]]:
    """(sequence, product_id, product or None for deleted) after a number, in order."""
    query = select(product_changes).where(product_changes.c.seq > after).order_by(product_changes.c.seq)
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    return [(r.seq, r.product_id, msgspec.json.decode(r.body) if r.body else None) for r in rows]


def _append(engine: Engine, rows: list[dict[str, Any]]) -> int:
    with engine.begin() as connection:
        for row in rows:
            connection.execute(insert(product_changes).values(row))
        return (
            connection.execute(select(product_changes.c.seq).order_by(product_changes.c.seq.desc()).limit(1)).scalar()
            or 0
        )
