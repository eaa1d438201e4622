"""Prices that cannot be."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "products"


def run(shop: Shop) -> CheckResult:
    """Negative or unreadable prices."""
    products = shop.tables["products"]
    offenders = products.filter(pl.col("price") < 0) if "price" in products.columns else products.clear()
    return result("bad_prices", offenders, "product_id", "a price below zero", "kept; filters on price leave them out")
