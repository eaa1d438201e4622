"""The change log of the catalogue: every worker follows it by sequence number.

Most entries are statements of the shop. Some repeat a statement and add the vector of the product's image: they change nothing
that the shop said, so ingest passes them over and whoever follows the log keeps the statement's number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, insert, select

from vetrina.core.image_vector import ImageVector
from vetrina.store.database import lock_log
from vetrina.store.tables import product_changes

_VECTOR = "image_vector"
_NETWORK = "image_network"

Product = dict[str, Any]


class Change(NamedTuple):
    """One entry. ``product`` is None for a deletion; ``image`` is set where the entry only adds a vector to the last
    statement."""

    seq: int
    product_id: str
    product: Product | None
    image: ImageVector | None = None


def append_products(engine: Engine, products: list[Product]) -> int:
    """Append new or changed products; returns the last sequence number."""
    with engine.begin() as connection:
        lock_log(connection, "products")
        return _append(connection, [_row(p) for p in products])


def append_deletion(engine: Engine, product_id: str) -> int:
    """Append a deletion; returns its sequence number."""
    with engine.begin() as connection:
        lock_log(connection, "products")
        return _append(connection, [{"product_id": product_id, "body": None}])


def add_image_vectors(engine: Engine, found: Sequence[tuple[Mapping[str, Any], ImageVector]], seen: int) -> int:
    """Repeat products with the vectors of their images, each only if no entry about it came in after number ``seen``.

    Args:
        engine: the store.
        found: products as they were last stated, with their vectors.
        seen: the number of the last entry that was read before the vectors were computed.

    Returns:
        How many were appended.
    """
    with engine.begin() as connection:
        lock_log(connection, "products")
        newer = select(product_changes.c.product_id).where(product_changes.c.seq > seen)
        changed = set(connection.execute(newer).scalars())
        rows = [
            _row({**product, _VECTOR: image.text, _NETWORK: image.network})
            for product, image in found
            if product["product_id"] not in changed
        ]
        _append(connection, rows)
    return len(rows)


def changes_after(engine: Engine, after_seq: int, limit: int = 100_000) -> list[Change]:
    """What came after a number, in order."""
    query = (
        select(product_changes).where(product_changes.c.seq > after_seq).order_by(product_changes.c.seq).limit(limit)
    )
    with engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(query).all()
    return [_change(r.seq, r.product_id, r.body) for r in rows]


def rows_after(engine: Engine, after_seq: int) -> tuple[list[Product], int]:
    """The shop's next statements as rows of the products table, deletions marked, and the number of the last entry looked at."""
    while found := changes_after(engine, after_seq):
        after_seq = found[-1].seq
        rows = [_statement(change) for change in found if change.image is None]
        if rows:
            return rows, after_seq
    return [], after_seq


def _statement(change: Change) -> Product:
    if change.product is None:
        return {"product_id": change.product_id, "title": change.product_id, "_deleted": True}
    return change.product | {"_deleted": False}


def _change(seq: int, product_id: str, body: str | None) -> Change:
    if not body:
        return Change(seq, product_id, None)
    product: Product = msgspec.json.decode(body)
    text = product.pop(_VECTOR, "")
    network = product.pop(_NETWORK, None)
    return Change(seq, product_id, product, ImageVector(network, text) if network else None)


def _row(product: Mapping[str, Any]) -> dict[str, Any]:
    return {"product_id": product["product_id"], "body": msgspec.json.encode(product).decode()}


def _append(connection: Connection, rows: list[dict[str, Any]]) -> int:
    last = 0
    for row in rows:
        key = connection.execute(insert(product_changes).values(row)).inserted_primary_key
        last = key[0] if key else last
    return last
