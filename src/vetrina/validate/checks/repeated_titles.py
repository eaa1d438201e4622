"""Many products with one title: a shopper cannot tell them apart."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "products"
_MANY = 20


def run(shop: Shop) -> CheckResult:
    """Titles that more than twenty products share."""
    counts = shop.tables["products"].group_by("title").len().sort("len", "title", descending=True)
    return result(
        "repeated_titles",
        counts.filter(pl.col("len") > _MANY),
        "title",
        f"more than {_MANY} products share a title",
        "ranked among themselves by what sells",
    )
