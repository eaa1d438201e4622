"""Change log of the catalogue; every worker follows it by sequence number.

Most entries are statements of the shop: a product as it is from now on, or its deletion. Other entries repeat a statement and
add the embedding of the product's image. They change nothing that the shop stated: ingest skips them, and a reader of the log
keeps the sequence number of the statement.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, insert, select

from vetrina.core.image_vector import ImageVector
from vetrina.store.database import lock_log, read
from vetrina.store.tables import product_changes

# Keys of an entry that adds an image embedding.
_VECTOR = "image_vector"
_NETWORK = "image_network"

Product = dict[str, Any]


class Change(NamedTuple):
    """One entry of the log.

    Attributes:
        seq: Sequence number.
        product_id: Id of the product.
        product: The product; None for a deletion.
        image: Image embedding; set if the entry only adds it to the last statement.
    """

    seq: int
    product_id: str
    product: Product | None
    image: ImageVector | None = None


def append_products(engine: Engine, products: list[Product]) -> int:
    """Append new or changed products; returns the last sequence number."""
    with engine.begin() as connection:
        lock_log(connection, "products")
        return _append(connection, [_row(product) for product in products])


def append_deletion(engine: Engine, product_id: str) -> int:
    """Append a deletion; returns its sequence number."""
    with engine.begin() as connection:
        lock_log(connection, "products")
        return _append(connection, [{"product_id": product_id, "body": None}])


def add_image_vectors(
    engine: Engine, embedded_products: Sequence[tuple[Mapping[str, Any], ImageVector]], last_seq: int
) -> int:
    """Append image embeddings of products, except of products that have changed since they were read.

    Args:
        engine: The store.
        embedded_products: Products as they were last stated, with their image embeddings.
        last_seq: Sequence number of the last entry that was read before the embeddings were computed.

    Returns:
        Number of appended entries.
    """
    with engine.begin() as connection:
        lock_log(connection, "products")
        newer = select(product_changes.c.product_id).where(product_changes.c.seq > last_seq)
        changed_ids = set(connection.execute(newer).scalars())
        rows = [
            _row({**product, _VECTOR: image.text, _NETWORK: image.network})
            for product, image in embedded_products
            if product["product_id"] not in changed_ids
        ]
        _append(connection, rows)
    return len(rows)


def changes_after(engine: Engine, after_seq: int, limit: int = 100_000) -> list[Change]:
    """Entries in the order of the log.

    Args:
        engine: The store.
        after_seq: Entries with a larger sequence number are returned.
        limit: Highest number of entries.
    """
    query = (
        select(product_changes).where(product_changes.c.seq > after_seq).order_by(product_changes.c.seq).limit(limit)
    )
    with read(engine) as connection:
        rows = connection.execute(query).all()
    return [_change(row.seq, row.product_id, row.body) for row in rows]


def rows_after(engine: Engine, after_seq: int) -> tuple[list[Product], int]:
    """The shop's next statements after a sequence number, as rows of the products table with deletions marked.

    Returns:
        The rows and the sequence number of the last entry that was read; no rows at the end of the log.
    """
    while True:
        changes = changes_after(engine, after_seq)
        if not changes:
            return [], after_seq
        after_seq = changes[-1].seq
        rows = [_statement(change) for change in changes if change.image is None]
        if rows:
            return rows, after_seq


def _statement(change: Change) -> Product:
    if change.product is None:
        return {"product_id": change.product_id, "title": change.product_id, "_deleted": True}
    return change.product | {"_deleted": False}


def _change(seq: int, product_id: str, body: str | None) -> Change:
    if not body:
        return Change(seq, product_id, None)
    product: Product = msgspec.json.decode(body)
    vector_text = product.pop(_VECTOR, "")
    network = product.pop(_NETWORK, None)
    image = ImageVector(network, vector_text) if network else None
    return Change(seq, product_id, product, image)


def _row(product: Mapping[str, Any]) -> dict[str, Any]:
    return {"product_id": product["product_id"], "body": msgspec.json.encode(product).decode()}


def _append(connection: Connection, rows: list[dict[str, Any]]) -> int:
    """Insert rows one by one; returns the last sequence number, 0 without rows."""
    last_seq = 0
    for row in rows:
        key = connection.execute(insert(product_changes).values(row)).inserted_primary_key
        if key:
            last_seq = key[0]
    return last_seq
