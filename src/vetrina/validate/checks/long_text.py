"""Text cut because nobody writes that much by hand."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "products"
_LONG = 500


def run(shop: Shop) -> CheckResult:
    """Titles, categories and brands above 500 characters."""
    products = shop.tables["products"]
    names = [c for c in ("title", "category", "brand") if c in products.columns]
    offenders = products.filter(pl.any_horizontal(pl.col(n).str.len_chars() > _LONG for n in names))
    return result(
        "long_text",
        offenders,
        "product_id",
        f"a name of more than {_LONG} characters is an export fault",
        "cut to 2,000 characters",
    )
