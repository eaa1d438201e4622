"""Answers for a whole file at once, with fixed output columns."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write
from vetrina.core.progress import Progress, track
from vetrina.core.types import Answer
from vetrina.ingest.read import read_table_file
from vetrina.pipeline import channels
from vetrina.pipeline.api import Shop
from vetrina.serve.audience import RecipientList

_WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": lambda frame, path: frame.write_csv(path),
    ".parquet": lambda frame, path: frame.write_parquet(path),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
}
_PREDICT_BATCH_ROWS = 1_000


def rank_file(shop: Shop, request_kind: str, file: Path, out: Path, progress: Progress, options: dict[str, Any]) -> int:
    """``kind`` is search, recommend, sessions or similar. Writes key, rank from 1, product_id, score; returns the rows."""
    key, required = _KEY_COLUMNS[request_kind]
    frame = _require_columns(read_table_file(file), required, file)
    _check_output_format(out)
    rows: list[tuple[str, int, str, float]] = []
    for row in track(progress, f"{request_kind}: {file.name}", frame.to_dicts()):
        answer = _answer_row(shop, request_kind, row, options)
        rows += [(str(row[key]), rank, i.product_id, i.score) for rank, i in enumerate(answer.items, start=1)]
    # The product asked about is the key of `similar`, so what is found needs a name of its own there.
    found = "similar_product_id" if key == "product_id" else "product_id"
    columns = {key: pl.String, "rank": pl.Int64, found: pl.String, "score": pl.Float64}
    _write_frame(pl.DataFrame(rows, schema=columns, orient="row"), out)
    return len(rows)


def predict_file(shop: Shop, file: Path, out: Path, progress: Progress) -> int:
    """Writes row from 0, probability (of a yes or no), prediction."""
    frame = read_table_file(file)
    _check_output_format(out)
    wanted = [c.name for c in shop.load("predict").encoding.columns]
    _require_columns(frame, tuple(wanted), file)
    rows = frame.select(wanted).rows()
    found = [a for part in track(progress, f"predict: {file.name}", _batches(rows)) for a in shop.predict(part)]
    said = {key: [a[key] for a in found] for key in ("probability", "prediction") if found and key in found[0]}
    _write_frame(pl.DataFrame({"row": list(range(len(found))), **said}), out)
    return len(found)


def audience_file(shop: Shop, file: Path, out: Path, progress: Progress, size: int) -> int:
    """For each product_id of a file its audience: product_id, rank, user_id, score. Returns the rows."""
    frame = _require_columns(read_table_file(file), ("product_id",), file)
    _check_output_format(out)
    rows: list[tuple[str, int, str, float]] = []
    for product in track(progress, f"audience: {file.name}", frame["product_id"].cast(pl.String).to_list()):
        people = shop.audience(product, size=size).recipients
        rows += [(product, rank, one.user_id, one.score) for rank, one in enumerate(people, start=1)]
    columns = {"product_id": pl.String, "rank": pl.Int64, "user_id": pl.String, "score": pl.Float64}
    _write_frame(pl.DataFrame(rows, schema=columns, orient="row"), out)
    return len(rows)


def read_user_ids(file: Path) -> tuple[str, ...]:
    """The user_id column of a file."""
    return tuple(
        _require_columns(read_table_file(file), ("user_id",), file)["user_id"]
        .cast(pl.String)
        .drop_nulls()
        .unique()
        .to_list()
    )


def deliver_audience(
    shop: Shop, channel: str, recipients: RecipientList, product: str | None, out: str
) -> dict[str, Any]:
    """Write or send an audience; what was written and how many users are in it."""
    about = shop.product(product) if product else None
    if channel == "webhook":
        sent = channels.post_audience(recipients.recipients, about, out, shop.folder.keys.api_token.encode())
        return {"users": sent, "out": out}
    files = channels.write_audience(channel, recipients.recipients, about, Path(out), shop.folder.settings.channels)
    return {"users": len(recipients.recipients), "out": ", ".join(map(str, files))}


_KEY_COLUMNS = {
    "search": ("query", ("query",)),
    "recommend": ("user_id", ("user_id",)),
    "sessions": ("session_id", ("session_id", "product_ids")),
    "similar": ("product_id", ("product_id",)),
    "ads": ("user_id", ("user_id",)),
}


def _answer_row(shop: Shop, request_kind: str, row: dict[str, Any], options: dict[str, Any]) -> Answer:
    user = str(row["user_id"]) if row.get("user_id") is not None else None
    if request_kind == "search":
        return shop.search(str(row["query"]), user, limit=options["limit"])
    if request_kind == "sessions":
        return shop.recommend(product_ids=_parse_ids(row["product_ids"]), **options)
    if request_kind == "ads":
        return shop.ads(user, **options)
    if request_kind == "similar":
        return shop.similar(str(row["product_id"]), **options)
    return shop.recommend(user, **options)


def _parse_ids(value: Any) -> tuple[str, ...]:
    """A list, or text such as ``["a", "b"]`` or ``a b``."""
    if isinstance(value, list | tuple):
        return tuple(str(v) for v in value)
    cleaned = "".join(" " if c in "[]\"'," else c for c in str(value))
    return tuple(cleaned.split())


def _require_columns(frame: pl.DataFrame, required: tuple[str, ...], file: Path) -> pl.DataFrame:
    missing = next((c for c in required if c not in frame.columns), None)
    if missing:
        found = ", ".join(frame.columns[:12])
        raise BadInput(f"{file}: column {missing!r}", "is required and missing", f"the file has: {found}")
    return frame


def _check_output_format(out: Path) -> None:
    if out.suffix.lower() not in _WRITERS:
        raise BadInput(str(out), "is not .csv, .parquet or .jsonl", "name the output so")


def _write_frame(frame: pl.DataFrame, out: Path) -> None:
    with atomic_write(out) as temporary:
        _WRITERS[out.suffix.lower()](frame, temporary)


def _batches(rows: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    return [rows[i : i + _PREDICT_BATCH_ROWS] for i in range(0, len(rows), _PREDICT_BATCH_ROWS)]


def answer_records(answer: Answer) -> Iterator[dict[str, Any]]:
    """An answer as records, for printing."""
    for rank, item in enumerate(answer.items, start=1):
        yield {
            "rank": rank,
            "product_id": item.product_id,
            "title": item.title,
            "score": round(item.score, 4),
            "why": item.reasons[0] if item.reasons else "",
        }
