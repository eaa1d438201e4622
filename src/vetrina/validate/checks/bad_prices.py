"""Check for negative prices."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"


def run(data: CheckInput) -> CheckResult:
    """Warns about products with a negative price."""
    products = data.tables["products"]
    offenders = products.filter(pl.col("price") < 0) if "price" in products.columns else products.clear()
    return check_result(
        "bad_prices", offenders, "product_id", "a price below zero", "kept; filters on price leave them out"
    )
