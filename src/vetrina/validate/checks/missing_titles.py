"""Products that search cannot find."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"


def run(data: CheckInput) -> CheckResult:
    """Titles shorter than two characters."""
    offenders = data.tables["products"].filter(pl.col("title").str.strip_chars().str.len_chars() < 2)
    return check_result(
        "missing_titles",
        offenders,
        "product_id",
        "a title this short finds nothing",
        "found by category and brand only",
    )
