"""A label that can be learnt: a yes or no, or a number."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "table"


def run(shop: Shop) -> CheckResult:
    """Missing labels, more than two words, one value only, or numbers without end, fail."""
    table = shop.tables["table"]
    label = pl.col(shop.label).cast(pl.String)
    values = table.select(label.drop_nulls().unique().sort())[shop.label]
    if table[shop.label].null_count():
        offenders, why = table.filter(label.is_null()).with_row_index("row"), "rows without a label"
    else:
        learnable = len(values) == 2 or (len(values) > 2 and _finite(values))
        offenders = pl.DataFrame({"row": []}) if learnable else pl.DataFrame({"row": values})
        why = f"{len(values)} label values; predict answers yes or no, or a number"
    return result("label_values", offenders, "row", why, "give two label values or numbers, one in every row", "FAIL")


def _finite(values: pl.Series) -> bool:
    return bool(values.cast(pl.Float64, strict=False).is_finite().fill_null(value=False).all())
