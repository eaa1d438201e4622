"""Reads a snapshot into the arrays that models learn from and gates judge with. Training side only."""

from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vetrina.core.columns import EVENT_WEIGHTS
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import (
    Ad,
    AdImpressions,
    Catalogue,
    Cuts,
    Interactions,
    Judgments,
    Snapshot,
    SocialGraph,
    Targets,
)
from vetrina.store import click_fraud, click_model, images
from vetrina.store.product_tokens import product_tokens

DELETED = "_deleted"


def open_snapshot(snapshots: Path, digest: str) -> Snapshot:
    """A snapshot that was composed before. Raises NotFound."""
    folder = snapshots / digest[:16]
    if not (folder / "snapshot.json").exists():
        raise NotFound(digest[:12], "is no snapshot of this shop", "ingest its files again")
    raw = msgspec.json.decode((folder / "snapshot.json").read_bytes())
    cuts = Cuts(**raw["cuts"]) if raw["cuts"] else None
    return Snapshot(raw["digest"], folder, raw["rows"], cuts, raw["quarantined"], logged=raw["logged"])


def label_column(snapshot: Snapshot) -> str:
    """The name of the table's label column, empty without a table."""
    return msgspec.json.decode((snapshot.folder / "snapshot.json").read_bytes())["label"]


def catalogue(snapshot: Snapshot) -> Catalogue | None:
    """All products, and products known from events alone, sorted by id; none that was deleted."""
    products = _read_table(snapshot, "products")
    events = _read_trusted_events(snapshot)
    if products is None and (events is None or "product_id" not in events.columns):
        return None
    frame = products if products is not None else pl.DataFrame({"product_id": []}, schema={"product_id": pl.String})
    if events is not None and "product_id" in events.columns:
        seen = events.select(pl.col("product_id").cast(pl.String)).drop_nulls().unique()
        frame = pl.concat([frame, seen.join(frame, on="product_id", how="anti")], how="diagonal_relaxed")
    if DELETED in frame.columns:
        frame = frame.filter(~pl.col(DELETED).fill_null(False)).drop(DELETED)
    frame = frame.sort("product_id")
    others = [c for c in frame.columns if c not in _CATALOGUE_COLUMNS and frame.schema[c] == pl.String]
    return Catalogue(
        product_ids=np.array(frame["product_id"].to_list(), dtype=np.str_),
        titles=_text_column(frame, "title"),
        descriptions=_text_column(frame, "description"),
        categories=_text_column(frame, "category"),
        brands=_text_column(frame, "brand"),
        attributes=tuple(_concatenated_text(frame, others)),
        prices=_number_column(frame, "price"),
        stock=_number_column(frame, "stock"),
        available_at=_time_column(frame, "available_at"),
        last_seq=snapshot.logged.get("products", 0),
        property_tokens=product_tokens(frame, others),
        images=_image_references(snapshot, frame),
        costs=_number_column(frame, "cost"),
        embeddings=_embeddings(frame),
        return_rates=_return_rates(events, frame["product_id"]),
    )


def _return_rates(events: pl.DataFrame | None, products: pl.Series) -> np.ndarray:
    """Share of each product's purchases that were sent back, drawn to that of all; empty where nothing ever was."""
    if events is None or "product_id" not in events.columns or not (events["type"].cast(pl.String) == "return").any():
        return np.empty(0)
    kind = pl.col("type").cast(pl.String)
    counts = events.group_by(pl.col("product_id").cast(pl.String)).agg(
        bought=(kind == "purchase").sum(), back=(kind == "return").sum()
    )
    mean = min(1.0, int(counts["back"].sum()) / max(1, int(counts["bought"].sum())))
    found = pl.DataFrame({"product_id": products.cast(pl.String)}).join(
        counts, on="product_id", how="left", maintain_order="left"
    )
    share = (pl.col("back").fill_null(0) + _SMOOTHING_PURCHASES * mean) / (
        pl.col("bought").fill_null(0) + _SMOOTHING_PURCHASES
    )
    return found.select(share.clip(0.0, _MAX_RETURN_RATE)).to_series().to_numpy()


def _embeddings(frame: pl.DataFrame) -> np.ndarray:
    """Given vectors, JSON lists of numbers of one length; a row of zeros where there is none. Raises BadInput."""
    if "embedding" not in frame.columns or frame["embedding"].null_count() == len(frame):
        return np.empty((0, 0), np.float32)
    found = [_parse_embedding(text, name) for text, name in zip(frame["embedding"], frame["product_id"], strict=True)]
    width = next((len(v) for v in found if v), 0)
    for vector, name in zip(found, frame["product_id"], strict=True):
        if vector and len(vector) != width:
            raise BadInput(f"embedding of {name}", f"has {len(vector)} numbers, others {width}", "give all one length")
    return np.array([v or [0.0] * width for v in found], np.float32)


def _parse_embedding(text: str | None, product: str) -> list[float]:
    if not text:
        return []
    try:
        said = msgspec.json.decode(text, type=list[float] | dict[str, list[float] | None])
        numbers = said if isinstance(said, list) else next(iter(said.values()), None) or []
    except msgspec.DecodeError:
        numbers = [float("nan")]
    if not np.isfinite(numbers).all():
        raise BadInput(f"embedding of {product}", f"is no list of numbers: {text[:60]}", "write it like [0.12, -0.5]")
    return numbers


def _image_references(snapshot: Snapshot, frame: pl.DataFrame) -> tuple[str, ...]:
    """The file or URL of each product's picture, none at all where no product has one."""
    if "image" not in frame.columns or frame["image"].null_count() == len(frame):
        return ()
    root = snapshot.folder.parent.parent
    return tuple(images.resolve_reference(root, given) for given in frame["image"].cast(pl.String).to_list())


def product_row(snapshot: Snapshot, product_id: str) -> dict[str, Any] | None:
    """One row of the products as the shop wrote it; of a product known from events alone only its id, which is its title."""
    products = _read_table(snapshot, "products")
    found = [] if products is None else products.filter(pl.col("product_id").cast(pl.String) == product_id).to_dicts()
    if found:
        return found[0]
    events = _read_trusted_events(snapshot)
    known = events is not None and (events["product_id"].cast(pl.String) == product_id).any()
    return {"product_id": product_id, "title": product_id} if known else None


_SMOOTHING_PURCHASES = 10.0
_MAX_RETURN_RATE = 0.95
_CATALOGUE_COLUMNS = (
    "product_id",
    "title",
    "description",
    "category",
    "brand",
    "currency",
    "image",
    "media",
    "embedding",
)


def interactions(
    snapshot: Snapshot,
    catalogue: Catalogue,
    until: float,
    weights: dict[str, float] | None = None,
    since: float | None = None,
) -> Interactions | None:
    """Weighted events before ``until`` (and not before ``since``), oldest first. None when the snapshot has no such events."""
    frame = _weighted_events(snapshot, weights)
    if frame is None:
        return None
    ids = pl.Series(catalogue.product_ids.tolist(), dtype=pl.String)
    frame = frame.filter(pl.col("timestamp") < _datetime_literal(until))
    if since is not None:
        frame = frame.filter(pl.col("timestamp") >= _datetime_literal(since))
    frame = frame.with_columns(pl.Series("item", _indices_of(frame["product_id"], ids))).filter(pl.col("item") >= 0)
    users = frame["user_id"].unique().sort()
    return Interactions(
        users=np.array(users.to_list(), dtype=np.str_),
        user=_indices_of(frame["user_id"], users),
        item=frame["item"].to_numpy(),
        time=frame["timestamp"].cast(pl.Int64).to_numpy() / 1e6,
        weight=frame["weight"].cast(pl.Float32).to_numpy(),
        until=until,
        last_seq=snapshot.logged.get("events", 0),
    )


def targets(
    snapshot: Snapshot,
    catalogue: Catalogue,
    since: float,
    until: float,
    weights: dict[str, float] | None = None,
) -> Targets | None:
    """What each user took between two moments: purchases if the log has any, else every weighted event."""
    frame = _weighted_events(snapshot, weights)
    if frame is None:
        return None
    frame = frame.filter(
        (pl.col("timestamp") >= _datetime_literal(since)) & (pl.col("timestamp") < _datetime_literal(until))
    )
    if (frame["type"].cast(pl.String) == "purchase").any():
        frame = frame.filter(pl.col("type").cast(pl.String) == "purchase")
    ids = pl.Series(catalogue.product_ids.tolist(), dtype=pl.String)
    frame = frame.with_columns(pl.Series("item", _indices_of(frame["product_id"], ids)))
    grouped = frame.group_by("user_id").agg(pl.col("item").unique().sort()).sort(pl.col("user_id").cast(pl.String))
    return Targets(
        tuple(grouped["user_id"].cast(pl.String).to_list()),
        tuple(np.asarray(items, dtype=np.int32) for items in grouped["item"].to_list()),
    )


def social_graph(snapshot: Snapshot) -> SocialGraph | None:
    """Who listens to whom by the users' ``follows`` and ``friends``. None when nobody does."""
    users = _read_table(snapshot, "users")
    columns = [] if users is None else [c for c in ("follows", "friends") if c in users.columns]
    if users is None or not columns:
        return None
    found: list[pl.DataFrame] = []
    for column in columns:
        pairs = users.select(user="user_id", other=pl.col(column).str.split(" ")).explode("other").drop_nulls()
        found.append(pairs)
        if column == "friends":
            found.append(pairs.select(user="other", other="user"))
    pairs = pl.concat(found).filter((pl.col("user") != pl.col("other")) & (pl.col("other") != "")).unique()
    if pairs.is_empty():
        return None
    names = pl.concat([pairs["user"], pairs["other"].alias("user")]).unique().sort()
    pairs = pairs.sort("user", "other")
    return SocialGraph(
        np.array(names.to_list(), np.str_), _indices_of(pairs["user"], names), _indices_of(pairs["other"], names)
    )


def ad_impressions(snapshot: Snapshot, catalogue: Catalogue) -> AdImpressions | None:
    """Ads that were shown, when the same user clicked within a day, and bought the product within thirty. None without any."""
    events = _read_trusted_events(snapshot)
    if events is None or "product_id" not in events.columns:
        return None
    kind = pl.col("type").cast(pl.String)
    place = pl.col("position").fill_null(1) if "position" in events.columns else pl.lit(1)
    named = events.select(
        "timestamp",
        user=pl.col("user_id").cast(pl.String),
        type=kind,
        product=pl.col("product_id").cast(pl.String),
        place=place.cast(pl.Int32),
    ).filter(pl.col("product").is_not_null())
    shown = sort_by_time(named.filter(pl.col("type") == "ad_impression").with_row_index("row"))
    if shown.is_empty():
        return None
    clicks = named.filter(pl.col("type") == "ad_click").select("timestamp", "user", "product", click="timestamp")
    bought = named.filter(pl.col("type") == "purchase").select("timestamp", "user", "product", purchase="timestamp")
    joined = _join_next_event(_join_next_event(shown, clicks, "timestamp", "1d"), bought, "click", "30d").sort("row")
    ids = pl.Series(catalogue.product_ids.tolist(), dtype=pl.String)
    joined = joined.with_columns(pl.Series("item", _indices_of(joined["product"], ids))).filter(pl.col("item") >= 0)
    joined = joined.sort("timestamp", maintain_order=True)
    users = joined["user"].unique().sort()
    return AdImpressions(
        users=np.array(users.to_list(), np.str_),
        user=_indices_of(joined["user"], users),
        item=joined["item"].to_numpy(),
        time=_to_seconds(joined["timestamp"]),
        position=joined["place"].to_numpy(),
        clicked_at=_to_seconds(joined["click"]),
        purchased_at=_to_seconds(joined["purchase"]),
    )


def _to_seconds(column: pl.Series) -> NDArray[np.float64]:
    """Seconds, NaN for nothing."""
    return column.cast(pl.Int64).cast(pl.Float64).to_numpy() / 1e6


def _join_next_event(rows: pl.DataFrame, events: pl.DataFrame, since: str, within: str) -> pl.DataFrame:
    """``rows`` with the first of ``events`` by the same user on the same product ``within`` a time of ``since``, else null."""
    return rows.sort(since).join_asof(
        events.sort("timestamp").drop("timestamp").with_columns(at=pl.col(events.columns[-1])).sort("at"),
        left_on=since, right_on="at", by=["user", "product"], strategy="forward", tolerance=within, check_sortedness=False,
    ).drop("at", strict=False)  # fmt: skip


def ads(snapshot: Snapshot) -> tuple[Ad, ...]:
    """Every ad by its id; an ad without a campaign is one of its own."""
    frame = _read_table(snapshot, "ads")
    if frame is None:
        return ()
    rows = frame.sort(pl.col("ad_id").cast(pl.String)).to_dicts()
    return tuple(_parse_ad(row) for row in rows)


def _parse_ad(row: dict[str, Any]) -> Ad:
    def moment(name: str) -> float | None:
        value = row.get(name)
        return None if value is None else value.replace(tzinfo=UTC).timestamp()

    budget = row.get("daily_budget")
    return Ad(
        ad_id=str(row["ad_id"]),
        product_id=str(row["product_id"]),
        bid=float(row["bid"]),
        campaign_id=str(row.get("campaign_id") or row["ad_id"]),
        daily_budget=None if budget is None else float(budget),
        frequency_cap=int(row.get("frequency_cap") or 0),
        starts_at=moment("starts_at"),
        ends_at=moment("ends_at"),
        audience=str(row.get("audience") or ""),
    )


def judgments(snapshot: Snapshot, catalogue: Catalogue) -> Judgments | None:
    """Pairs that a person graded, and of the other pairs what shoppers did, by query."""
    pair = ["query", "product_id"]
    found = [f for f in (_read_table(snapshot, "judgments"), _grades_from_clicks(snapshot)) if f is not None and len(f)]
    if not found:
        return None
    each = [f.group_by(pair).agg(pl.col("grade").cast(pl.Float64).max()) for f in found]
    frame = pl.concat(each).unique(pair, keep="first", maintain_order=True).sort(pair)
    ids = pl.Series(catalogue.product_ids.tolist(), dtype=pl.String)
    item = _indices_of(frame["product_id"], ids)
    known = item >= 0
    queries = np.array(frame["query"].to_list(), dtype=object)[known]
    return Judgments(tuple(queries.tolist()), item[known], frame["grade"].to_numpy()[known].astype(np.float32))


def table(snapshot: Snapshot) -> LabelledTable | None:
    """The labelled table; a column is numeric if every value that is there is a number."""
    frame = _read_table(snapshot, "table")
    if frame is None:
        return None
    answer = label_column(snapshot)
    columns = {name: _to_numeric_or_object(frame[name]) for name in frame.columns if name != answer}
    return LabelledTable(columns, _to_numeric_or_object(frame[answer]))


def sort_by_time(events: pl.DataFrame) -> pl.DataFrame:
    """Events by time; those of one moment by a hash of what they say, so that it does not matter in which files they came."""
    keys = pl.DataFrame({"timestamp": events["timestamp"], "hash": events.hash_rows(seed=0)})
    order = keys.select(pl.arg_sort_by("timestamp", "hash")).to_series()
    return events.lazy().select(pl.all().gather(order)).collect()


def _spread_single_timestamp(events: pl.DataFrame) -> pl.DataFrame:
    """Events that all have one time, spread in their order over the second that it begins: they can be parted only by chance."""
    if events["timestamp"].min() != events["timestamp"].max():
        return events
    after = pl.int_range(pl.len()) * 1_000_000 // pl.len()
    return events.with_columns(pl.col("timestamp") + pl.duration(microseconds=after))


def _to_numeric_or_object(series: pl.Series) -> np.ndarray:
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).to_numpy()
    text = series.cast(pl.String)
    number = text.cast(pl.Float64, strict=False)
    if number.null_count() == text.null_count():
        return number.to_numpy()
    return np.array(text.to_list(), dtype=object)


def _weighted_events(snapshot: Snapshot, weights: dict[str, float] | None) -> pl.DataFrame | None:
    events = _read_trusted_events(snapshot)
    if events is None or "product_id" not in events.columns:
        return None
    merged = EVENT_WEIGHTS | (weights or {})
    kinds = pl.DataFrame({"type": list(merged), "weight": [float(w) for w in merged.values()]})
    known = events.select(
        "timestamp",
        pl.col("user_id").cast(pl.String),
        pl.col("type").cast(pl.String),
        pl.col("product_id").cast(pl.String),
    )
    frame = _spread_single_timestamp(sort_by_time(known))
    frame = frame.join(kinds, on="type", how="inner", maintain_order="left")
    frame = frame.filter(pl.col("product_id").is_not_null() & (pl.col("weight") > 0))
    return frame if len(frame) else None


def _grades_from_clicks(snapshot: Snapshot) -> pl.DataFrame | None:
    events = _read_trusted_events(snapshot)
    if events is None or "query" not in events.columns or "product_id" not in events.columns:
        return None
    return click_model.grades_from_clicks(events)


def _read_trusted_events(snapshot: Snapshot) -> pl.DataFrame | None:
    """Events that are learnt from: those that look made up to push a product are left out."""
    events = _read_table(snapshot, "events")
    if events is None or "product_id" not in events.columns:
        return events
    return click_fraud.exclude_click_fraud(events, click_fraud.read(snapshot.folder))


def _read_table(snapshot: Snapshot, name: str) -> pl.DataFrame | None:
    path: Path = snapshot.folder / f"{name}.parquet"
    return pl.read_parquet(path) if path.exists() else None


def _indices_of(values: pl.Series, ids: pl.Series) -> np.ndarray:
    keys = pl.DataFrame({"k": ids, "code": np.arange(len(ids), dtype=np.int32)})
    joined = pl.DataFrame({"k": values.cast(pl.String)}).join(keys, on="k", how="left", maintain_order="left")
    return joined["code"].fill_null(-1).to_numpy().astype(np.int32)


def _datetime_literal(seconds: float) -> pl.Expr:
    return pl.lit(round(seconds * 1e6)).cast(pl.Datetime("us"))


def _text_column(frame: pl.DataFrame, name: str) -> tuple[str, ...]:
    if name not in frame.columns:
        return ("",) * len(frame)
    return tuple(frame[name].cast(pl.String).fill_null("").to_list())


def _concatenated_text(frame: pl.DataFrame, names: list[str]) -> list[str]:
    if not names:
        return [""] * len(frame)
    return frame.select(pl.concat_str(names, separator=" ", ignore_nulls=True).fill_null("").alias("t"))["t"].to_list()


def _number_column(frame: pl.DataFrame, name: str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _time_column(frame: pl.DataFrame, name: str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].cast(pl.Int64).cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6
