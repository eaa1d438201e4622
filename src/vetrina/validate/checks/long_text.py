"""Text cut because nobody writes that much by hand."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"
_MAX_CHARACTERS = 500


def run(data: CheckInput) -> CheckResult:
    """Titles, categories and brands above 500 characters."""
    products = data.tables["products"]
    names = [c for c in ("title", "category", "brand") if c in products.columns]
    offenders = products.filter(pl.any_horizontal(pl.col(n).str.len_chars() > _MAX_CHARACTERS for n in names))
    return check_result(
        "long_text",
        offenders,
        "product_id",
        f"a name of more than {_MAX_CHARACTERS} characters is an export fault",
        "cut to 2,000 characters",
    )
