"""A label that a yes-or-no model can learn."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "table"


def run(shop: Shop) -> CheckResult:
    """Missing labels, more than two values, or one value only, fail."""
    table = shop.tables["table"]
    label = pl.col(shop.label).cast(pl.String)
    values = table.select(label.drop_nulls().unique().sort())[shop.label]
    if table[shop.label].null_count():
        offenders, why = table.filter(label.is_null()).with_row_index("row"), "rows without a label"
    else:
        offenders = pl.DataFrame({"row": values}) if len(values) != 2 else pl.DataFrame({"row": []})
        why = f"{len(values)} label values; predict answers yes or no"
    return result("label_values", offenders, "row", why, "give two label values, one in every row", "FAIL")
