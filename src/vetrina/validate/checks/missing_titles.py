"""Check for missing or one-character titles."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"
_MIN_CHARACTERS = 2


def run(data: CheckInput) -> CheckResult:
    """Warns about products with a title of fewer than two characters, which a search by words cannot find."""
    title = pl.col("title").str.strip_chars()
    return check_result(
        "missing_titles",
        data.tables["products"].filter(title.str.len_chars() < _MIN_CHARACTERS),
        "product_id",
        "a title this short matches no query",
        "found by category and brand only",
    )
