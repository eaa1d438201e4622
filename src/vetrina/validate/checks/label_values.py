"""A label that can be learnt: a yes or no, or a number."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "table"


def run(data: CheckInput) -> CheckResult:
    """Missing labels, more than two words, one value only, or numbers without end, fail."""
    table = data.tables["table"]
    label = pl.col(data.label).cast(pl.String)
    values = table.select(label.drop_nulls().unique().sort())[data.label]
    if table[data.label].null_count():
        offenders = table.filter(label.is_null()).with_row_index("row")
        why = "rows without a label"
    else:
        learnable = len(values) == 2 or (len(values) > 2 and _all_finite(values))
        offenders = pl.DataFrame({"row": []}) if learnable else pl.DataFrame({"row": values})
        why = f"{len(values)} label values; predict answers yes or no, or a number"
    return check_result(
        "label_values", offenders, "row", why, "give two label values or numbers, one in every row", "FAIL"
    )


def _all_finite(values: pl.Series) -> bool:
    return bool(values.cast(pl.Float64, strict=False).is_finite().fill_null(value=False).all())
