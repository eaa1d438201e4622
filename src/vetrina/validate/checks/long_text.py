"""Check for titles, categories and brands of implausible length."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"
_MAX_CHARACTERS = 500


def run(data: CheckInput) -> CheckResult:
    """Warns about products with a title, category or brand of more than 500 characters."""
    products = data.tables["products"]
    columns = [name for name in ("title", "category", "brand") if name in products.columns]
    is_long = [pl.col(name).str.len_chars() > _MAX_CHARACTERS for name in columns]
    return check_result(
        "long_text",
        products.filter(pl.any_horizontal(is_long)),
        "product_id",
        f"a name of more than {_MAX_CHARACTERS} characters is an export fault",
        "cut to 2,000 characters",
    )
