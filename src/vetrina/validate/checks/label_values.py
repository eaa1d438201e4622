"""Check for a label that is neither binary nor numeric, or has missing values."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "table"


def run(data: CheckInput) -> CheckResult:
    """Fails for missing labels, a single label value, more than two words, or numbers that are not finite."""
    table = data.tables["table"]
    label = pl.col(data.label).cast(pl.String)
    values = table.select(label.drop_nulls().unique().sort())[data.label]
    if table[data.label].null_count():
        offenders = table.filter(label.is_null()).with_row_index("row")
        meaning = "rows without a label"
    else:
        is_binary = len(values) == 2
        is_numeric = len(values) > 2 and _all_finite(values)
        offenders = pl.DataFrame({"row": []}) if is_binary or is_numeric else pl.DataFrame({"row": values})
        meaning = f"{len(values)} label values; predict answers yes or no, or a number"
    action = "give two label values or numbers, one in every row"
    return check_result("label_values", offenders, "row", meaning, action, "FAIL")


def _all_finite(values: pl.Series) -> bool:
    """Whether all texts are finite numbers."""
    numbers = values.cast(pl.Float64, strict=False)
    return bool(numbers.is_finite().fill_null(value=False).all())
