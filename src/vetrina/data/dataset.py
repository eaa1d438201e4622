"""Typed arrays of a snapshot for training and evaluation.

For training only: serving does not import it. Events that are suspected click fraud, and what an anonymous sender sends beyond
the daily cap, are left out everywhere.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vetrina.core.columns import ANONYMOUS_COLUMN, EVENT_WEIGHTS, OVER_CAP_COLUMN
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.evaluation_data import Targets
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.snapshots import Cuts, Snapshot
from vetrina.core.training_data import Ad, AdImpressions, Catalogue, Interactions, Judgments, SocialGraph
from vetrina.data import click_fraud, click_model, images
from vetrina.data.product_tokens import product_tokens

DELETED = "_deleted"  # column that marks deleted products
_SMOOTHING_PURCHASES = 10.0  # purchases with the mean return rate that are added to each product's own
_MAX_RETURN_RATE = 0.95
_MICROSECONDS = 1e6  # in a second: Polars times are integers of microseconds
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


def open_snapshot(snapshots: Path, digest: str) -> Snapshot:
    """An existing snapshot in the folder ``snapshots``. Raises NotFound."""
    folder = snapshots / digest[:16]
    if not (folder / "snapshot.json").exists():
        raise NotFound(digest[:12], "is no snapshot of this shop", "ingest its files again")
    raw = msgspec.json.decode((folder / "snapshot.json").read_bytes())
    cuts = Cuts(**raw["cuts"]) if raw["cuts"] else None
    return Snapshot(raw["digest"], folder, raw["rows"], cuts, raw["quarantined"], logged=raw["logged"])


def label_column(snapshot: Snapshot) -> str:
    """Name of the label column of the labelled table, empty without a table."""
    return msgspec.json.decode((snapshot.folder / "snapshot.json").read_bytes())["label"]


def catalogue(snapshot: Snapshot) -> Catalogue | None:
    """All products, sorted by id, without deleted ones.

    Without a table of products they are those of the shop's own events, with an id and nothing else: events of anonymous
    senders never create a product. Returns None without either.
    """
    frame = _read_table(snapshot, "products")
    events = _read_trusted_events(snapshot)
    if frame is None:
        frame = _products_of_events(events)
    if frame is None:
        return None
    if DELETED in frame.columns:
        frame = frame.filter(~pl.col(DELETED).fill_null(False)).drop(DELETED)
    frame = frame.sort("product_id")
    property_columns = [
        name for name in frame.columns if name not in _CATALOGUE_COLUMNS and frame.schema[name] == pl.String
    ]
    return Catalogue(
        product_ids=np.array(frame["product_id"].to_list(), dtype=np.str_),
        titles=_text_column(frame, "title"),
        descriptions=_text_column(frame, "description"),
        categories=_text_column(frame, "category"),
        brands=_text_column(frame, "brand"),
        attributes=tuple(_concatenated_text(frame, property_columns)),
        prices=_number_column(frame, "price"),
        stock=_number_column(frame, "stock"),
        available_at=_time_column(frame, "available_at"),
        last_seq=snapshot.logged.get("products", 0),
        property_tokens=product_tokens(frame, property_columns),
        images=_image_references(snapshot, frame),
        costs=_number_column(frame, "cost"),
        embeddings=_embeddings(frame),
        return_rates=_return_rates(events, frame["product_id"]),
    )


def _products_of_events(events: pl.DataFrame | None) -> pl.DataFrame | None:
    """``product_id`` of the products that the shop itself reports events on; None without any."""
    if events is None or "product_id" not in events.columns:
        return None
    if ANONYMOUS_COLUMN in events.columns:
        events = events.filter(pl.col(ANONYMOUS_COLUMN).is_null())
    products = events.select(pl.col("product_id").cast(pl.String)).drop_nulls().unique()
    if products.is_empty():
        return None
    return products


def _return_rates(events: pl.DataFrame | None, products: pl.Series) -> np.ndarray:
    """(n,) share of each product's purchases that were returned, shrunk to the mean of all; (0,) without any return."""
    if events is None or "product_id" not in events.columns:
        return np.empty(0)
    event_type = pl.col("type").cast(pl.String)
    if not (events["type"].cast(pl.String) == "return").any():
        return np.empty(0)
    counts = events.group_by(pl.col("product_id").cast(pl.String)).agg(
        purchases=(event_type == "purchase").sum(), returns=(event_type == "return").sum()
    )
    n_returns = int(counts["returns"].sum())
    n_purchases = max(1, int(counts["purchases"].sum()))
    mean_rate = min(1.0, n_returns / n_purchases)
    product_counts = pl.DataFrame({"product_id": products.cast(pl.String)}).join(
        counts, on="product_id", how="left", maintain_order="left"
    )
    smoothed_returns = pl.col("returns").fill_null(0) + _SMOOTHING_PURCHASES * mean_rate
    smoothed_purchases = pl.col("purchases").fill_null(0) + _SMOOTHING_PURCHASES
    rates = (smoothed_returns / smoothed_purchases).clip(0.0, _MAX_RETURN_RATE)
    return product_counts.select(rates).to_series().to_numpy()


def _embeddings(frame: pl.DataFrame) -> np.ndarray:
    """(n, width) vectors of the column ``embedding``, zeros for products without; (0, 0) without any. Raises BadInput."""
    if "embedding" not in frame.columns or frame["embedding"].null_count() == len(frame):
        return np.empty((0, 0), np.float32)
    product_ids = frame["product_id"]
    vectors = [_parse_embedding(text, product) for text, product in zip(frame["embedding"], product_ids, strict=True)]
    width = next((len(vector) for vector in vectors if vector), 0)
    for vector, product in zip(vectors, product_ids, strict=True):
        if vector and len(vector) != width:
            raise BadInput(
                f"embedding of {product}", f"has {len(vector)} numbers, others {width}", "give all one length"
            )
    zeros = [0.0] * width
    return np.array([vector or zeros for vector in vectors], np.float32)


def _parse_embedding(text: str | None, product: str) -> list[float]:
    """The numbers of a JSON list, or of the first list in a JSON object; empty without any. Raises BadInput."""
    if not text:
        return []
    try:
        content = msgspec.json.decode(text, type=list[float] | dict[str, list[float] | None])
    except msgspec.DecodeError:
        content = [float("nan")]
    if isinstance(content, dict):
        content = next(iter(content.values()), None)
    numbers = content or []
    if not np.isfinite(numbers).all():
        raise BadInput(f"embedding of {product}", f"is no list of numbers: {text[:60]}", "write it like [0.12, -0.5]")
    return numbers


def _image_references(snapshot: Snapshot, frame: pl.DataFrame) -> tuple[str, ...]:
    """File or URL of each product's image; empty if no product has one."""
    if "image" not in frame.columns or frame["image"].null_count() == len(frame):
        return ()
    root = snapshot.folder.parent.parent
    references = frame["image"].cast(pl.String).to_list()
    return tuple(images.resolve_reference(root, reference) for reference in references)


def product_row(snapshot: Snapshot, product_id: str) -> dict[str, Any] | None:
    """A product as the shop gave it; without a table of products its id and title; None if it is unknown."""
    products = _read_table(snapshot, "products")
    if products is None:
        products = _products_of_events(_read_trusted_events(snapshot))
    if products is None:
        return None
    rows = products.filter(pl.col("product_id").cast(pl.String) == product_id).to_dicts()
    if not rows:
        return None
    return {"title": product_id, **rows[0]}


def interactions(
    snapshot: Snapshot,
    catalogue: Catalogue,
    until: float,
    weights: dict[str, float] | None = None,
    since: float | None = None,
) -> Interactions | None:
    """Weighted events on products of the catalogue, oldest first.

    Args:
        snapshot: The data.
        catalogue: Its products.
        until: End of the period in seconds since 1970, exclusive.
        weights: Weights by event type, in addition to or in place of the default weights.
        since: Start of the period, inclusive; None for the whole log.

    Returns:
        None if the snapshot has no weighted events at all.
    """
    frame = _weighted_events(snapshot, weights)
    if frame is None:
        return None
    frame = frame.filter(pl.col("timestamp") < _datetime_literal(until))
    if since is not None:
        frame = frame.filter(pl.col("timestamp") >= _datetime_literal(since))
    item = _indices_of(frame["product_id"], _product_ids(catalogue))
    frame = frame.with_columns(pl.Series("item", item)).filter(pl.col("item") >= 0)
    users = frame["user_id"].unique().sort()
    return Interactions(
        users=np.array(users.to_list(), dtype=np.str_),
        user=_indices_of(frame["user_id"], users),
        item=frame["item"].to_numpy(),
        time=frame["timestamp"].cast(pl.Int64).to_numpy() / _MICROSECONDS,
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
    """Held-out items of each user: purchases if the period has any, else all weighted events.

    Args:
        snapshot: The data.
        catalogue: Its products.
        since: Start of the period in seconds since 1970, inclusive.
        until: End of the period, exclusive.
        weights: Weights by event type, in addition to or in place of the default weights.

    Returns:
        None if the snapshot has no weighted events at all.
    """
    frame = _weighted_events(snapshot, weights)
    if frame is None:
        return None
    is_in_period = (pl.col("timestamp") >= _datetime_literal(since)) & (pl.col("timestamp") < _datetime_literal(until))
    frame = frame.filter(is_in_period)
    if (frame["type"].cast(pl.String) == "purchase").any():
        frame = frame.filter(pl.col("type").cast(pl.String) == "purchase")
    item = _indices_of(frame["product_id"], _product_ids(catalogue))
    frame = frame.with_columns(pl.Series("item", item))
    items_by_user = frame.group_by("user_id").agg(pl.col("item").unique().sort())
    items_by_user = items_by_user.sort(pl.col("user_id").cast(pl.String))
    user_ids = tuple(items_by_user["user_id"].cast(pl.String).to_list())
    items = tuple(np.asarray(row, dtype=np.int32) for row in items_by_user["item"].to_list())
    return Targets(user_ids, items)


def social_graph(snapshot: Snapshot) -> SocialGraph | None:
    """Graph of the users' columns ``follows`` and ``friends``; None if it has no edges."""
    users = _read_table(snapshot, "users")
    if users is None:
        return None
    edges: list[pl.DataFrame] = []
    for column in ("follows", "friends"):
        if column not in users.columns:
            continue
        pairs = users.select(user="user_id", other=pl.col(column).str.split(" ")).explode("other").drop_nulls()
        edges.append(pairs)
        if column == "friends":
            edges.append(pairs.select(user="other", other="user"))
    if not edges:
        return None
    is_edge = (pl.col("user") != pl.col("other")) & (pl.col("other") != "")
    pairs = pl.concat(edges).filter(is_edge).unique()
    if pairs.is_empty():
        return None
    names = pl.concat([pairs["user"], pairs["other"].alias("user")]).unique().sort()
    pairs = pairs.sort("user", "other")
    return SocialGraph(
        users=np.array(names.to_list(), np.str_),
        follower=_indices_of(pairs["user"], names),
        followee=_indices_of(pairs["other"], names),
    )


def ad_impressions(snapshot: Snapshot, catalogue: Catalogue) -> AdImpressions | None:
    """Ad impressions on products of the catalogue, with their clicks and purchases; None without any.

    A click by the same user on the same product counts within a day of the impression, a purchase within thirty days of the
    click.
    """
    events = _read_trusted_events(snapshot)
    if events is None or "product_id" not in events.columns:
        return None
    position = pl.col("position").fill_null(1) if "position" in events.columns else pl.lit(1)
    product_events = events.select(
        "timestamp",
        user=pl.col("user_id").cast(pl.String),
        type=pl.col("type").cast(pl.String),
        product=pl.col("product_id").cast(pl.String),
        position=position.cast(pl.Int32),
    ).filter(pl.col("product").is_not_null())
    impressions = product_events.filter(pl.col("type") == "ad_impression").with_row_index("row")
    impressions = sort_by_time(impressions)
    if impressions.is_empty():
        return None
    keys = ("timestamp", "user", "product")
    clicks = product_events.filter(pl.col("type") == "ad_click").select(*keys, click="timestamp")
    purchases = product_events.filter(pl.col("type") == "purchase").select(*keys, purchase="timestamp")
    joined = _join_next_event(impressions, clicks, "timestamp", "1d")
    joined = _join_next_event(joined, purchases, "click", "30d").sort("row")
    item = _indices_of(joined["product"], _product_ids(catalogue))
    joined = joined.with_columns(pl.Series("item", item)).filter(pl.col("item") >= 0)
    joined = joined.sort("timestamp", maintain_order=True)
    users = joined["user"].unique().sort()
    return AdImpressions(
        users=np.array(users.to_list(), np.str_),
        user=_indices_of(joined["user"], users),
        item=joined["item"].to_numpy(),
        time=_to_seconds(joined["timestamp"]),
        position=joined["position"].to_numpy(),
        clicked_at=_to_seconds(joined["click"]),
        purchased_at=_to_seconds(joined["purchase"]),
    )


def _to_seconds(column: pl.Series) -> NDArray[np.float64]:
    """(n,) seconds since 1970, NaN for null."""
    return column.cast(pl.Int64).cast(pl.Float64).to_numpy() / _MICROSECONDS


def _join_next_event(rows: pl.DataFrame, events: pl.DataFrame, since: str, within: str) -> pl.DataFrame:
    """Join each row with the first event of the same user on the same product.

    Args:
        rows: Rows with the columns ``user``, ``product`` and ``since``.
        events: Events with the columns ``timestamp``, ``user``, ``product`` and, last, a time that is added to ``rows``.
        since: Column of the earliest time of the event.
        within: Longest time after ``since``, as Polars writes durations.

    Returns:
        ``rows`` with the last column of ``events``, null without such an event.
    """
    added_column = events.columns[-1]
    right = events.sort("timestamp").drop("timestamp").with_columns(at=pl.col(added_column)).sort("at")
    joined = rows.sort(since).join_asof(
        right,
        left_on=since,
        right_on="at",
        by=["user", "product"],
        strategy="forward",
        tolerance=within,
        check_sortedness=False,
    )
    return joined.drop("at", strict=False)


def ads(snapshot: Snapshot) -> tuple[Ad, ...]:
    """All ads, sorted by id; an ad without a campaign forms a campaign of its own."""
    frame = _read_table(snapshot, "ads")
    if frame is None:
        return ()
    rows = frame.sort(pl.col("ad_id").cast(pl.String)).to_dicts()
    return tuple(_parse_ad(row) for row in rows)


def _parse_ad(row: dict[str, Any]) -> Ad:
    budget = row.get("daily_budget")
    return Ad(
        ad_id=str(row["ad_id"]),
        product_id=str(row["product_id"]),
        bid=float(row["bid"]),
        campaign_id=str(row.get("campaign_id") or row["ad_id"]),
        daily_budget=None if budget is None else float(budget),
        frequency_cap=int(row.get("frequency_cap") or 0),
        starts_at=_parse_time(row.get("starts_at")),
        ends_at=_parse_time(row.get("ends_at")),
        audience=str(row.get("audience") or ""),
    )


def _parse_time(value: datetime | None) -> float | None:
    """Seconds since 1970 of a time in UTC."""
    if value is None:
        return None
    return value.replace(tzinfo=UTC).timestamp()


def judgments(snapshot: Snapshot, catalogue: Catalogue) -> Judgments | None:
    """Relevance judgments of query-product pairs: those of people, and for other pairs grades from clicks.

    Returns None without any.
    """
    pair = ["query", "product_id"]
    sources: list[pl.DataFrame] = []
    for graded_pairs in (_read_table(snapshot, "judgments"), _grades_from_clicks(snapshot)):
        if graded_pairs is not None and len(graded_pairs):
            sources.append(graded_pairs.group_by(pair).agg(pl.col("grade").cast(pl.Float64).max()))
    if not sources:
        return None
    frame = pl.concat(sources).unique(pair, keep="first", maintain_order=True).sort(pair)
    item = _indices_of(frame["product_id"], _product_ids(catalogue))
    is_in_catalogue = item >= 0
    queries = np.array(frame["query"].to_list(), dtype=object)[is_in_catalogue]
    grades = frame["grade"].to_numpy()[is_in_catalogue].astype(np.float32)
    return Judgments(tuple(queries.tolist()), item[is_in_catalogue], grades)


def table(snapshot: Snapshot) -> LabelledTable | None:
    """The labelled table; a column is numeric if all its values are numbers. None without a table."""
    frame = _read_table(snapshot, "table")
    if frame is None:
        return None
    label = label_column(snapshot)
    columns = {name: _to_numeric_or_object(frame[name]) for name in frame.columns if name != label}
    return LabelledTable(columns, _to_numeric_or_object(frame[label]))


def sort_by_time(events: pl.DataFrame) -> pl.DataFrame:
    """Events sorted by time. Ties are ordered by a hash of the row, so that the order of the files does not matter."""
    keys = pl.DataFrame({"timestamp": events["timestamp"], "hash": events.hash_rows(seed=0)})
    order = keys.select(pl.arg_sort_by("timestamp", "hash")).to_series()
    return events.lazy().select(pl.all().gather(order)).collect()


def _spread_single_timestamp(events: pl.DataFrame) -> pl.DataFrame:
    """Events of a log with a single timestamp, spread over a second in their order: such a log has a random order."""
    if events["timestamp"].min() != events["timestamp"].max():
        return events
    offset = pl.int_range(pl.len()) * 1_000_000 // pl.len()
    return events.with_columns(pl.col("timestamp") + pl.duration(microseconds=offset))


def _to_numeric_or_object(series: pl.Series) -> np.ndarray:
    """float64 with NaN if all values are numbers, else object strings with None."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).to_numpy()
    texts = series.cast(pl.String)
    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() == texts.null_count():
        return numbers.to_numpy()
    return np.array(texts.to_list(), dtype=object)


def _weighted_events(snapshot: Snapshot, weights: dict[str, float] | None) -> pl.DataFrame | None:
    """Events on products with a positive weight, by time; None without any."""
    events = _read_trusted_events(snapshot)
    if events is None or "product_id" not in events.columns:
        return None
    all_weights = EVENT_WEIGHTS | (weights or {})
    type_weights = pl.DataFrame(
        {"type": list(all_weights), "weight": [float(weight) for weight in all_weights.values()]}
    )
    frame = events.select(
        "timestamp",
        pl.col("user_id").cast(pl.String),
        pl.col("type").cast(pl.String),
        pl.col("product_id").cast(pl.String),
    )
    frame = _spread_single_timestamp(sort_by_time(frame))
    frame = frame.join(type_weights, on="type", how="inner", maintain_order="left")
    frame = frame.filter(pl.col("product_id").is_not_null() & (pl.col("weight") > 0))
    if frame.is_empty():
        return None
    return frame


def _grades_from_clicks(snapshot: Snapshot) -> pl.DataFrame | None:
    events = _read_trusted_events(snapshot)
    if events is None or "query" not in events.columns or "product_id" not in events.columns:
        return None
    return click_model.grades_from_clicks(events)


def newest_events(snapshot: Snapshot, limit: int) -> list[dict[str, Any]]:
    """User, type, product and query of the newest events of a snapshot, at most ``limit``, as rows; users are pseudonyms."""
    path = snapshot.folder / "events.parquet"
    if not path.exists():
        return []
    events = pl.scan_parquet(path)
    names = [name for name in ("user_id", "type", "product_id", "query") if name in events.collect_schema()]
    newest = events.top_k(limit, by="timestamp").select(pl.col(names).cast(pl.String))
    return newest.collect().to_dicts()


def _read_trusted_events(snapshot: Snapshot) -> pl.DataFrame | None:
    """Events without suspected click fraud and without what exceeds an anonymous sender's cap; None without events."""
    events = _read_table(snapshot, "events")
    if events is not None and OVER_CAP_COLUMN in events.columns:
        events = events.filter(pl.col(OVER_CAP_COLUMN).is_null())
    if events is None or "product_id" not in events.columns:
        return events
    return click_fraud.exclude_click_fraud(events, click_fraud.read(snapshot.folder))


def _read_table(snapshot: Snapshot, name: str) -> pl.DataFrame | None:
    path = snapshot.folder / f"{name}.parquet"
    if not path.exists():
        return None
    return pl.read_parquet(path)


def _product_ids(catalogue: Catalogue) -> pl.Series:
    return pl.Series(catalogue.product_ids.tolist(), dtype=pl.String)


def _indices_of(values: pl.Series, ids: pl.Series) -> np.ndarray:
    """(n,) int32 index in ``ids`` of each value, -1 for values that are not among them."""
    codes = pl.DataFrame({"value": ids, "code": np.arange(len(ids), dtype=np.int32)})
    joined = pl.DataFrame({"value": values.cast(pl.String)}).join(codes, on="value", how="left", maintain_order="left")
    return joined["code"].fill_null(-1).to_numpy().astype(np.int32)


def _datetime_literal(seconds: float) -> pl.Expr:
    return pl.lit(round(seconds * _MICROSECONDS)).cast(pl.Datetime("us"))


def _text_column(frame: pl.DataFrame, name: str) -> tuple[str, ...]:
    if name not in frame.columns:
        return ("",) * len(frame)
    return tuple(frame[name].cast(pl.String).fill_null("").to_list())


def _concatenated_text(frame: pl.DataFrame, names: list[str]) -> list[str]:
    """The columns ``names`` of each row, joined by spaces."""
    if not names:
        return [""] * len(frame)
    joined = pl.concat_str(names, separator=" ", ignore_nulls=True).fill_null("")
    return frame.select(joined.alias("text"))["text"].to_list()


def _number_column(frame: pl.DataFrame, name: str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _time_column(frame: pl.DataFrame, name: str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    microseconds = frame[name].cast(pl.Int64).cast(pl.Float64)
    return microseconds.fill_null(np.nan).to_numpy() / _MICROSECONDS
