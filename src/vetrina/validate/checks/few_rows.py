"""A table too small to hold anything back."""

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "table"
_LEAST = 50


def run(shop: Shop) -> CheckResult:
    """Fewer than fifty rows fail: a fifth of them could not judge a model."""
    table = shop.tables["table"].with_row_index("row_number")
    offenders = table if len(table) < _LEAST else table.clear()
    return result(
        "few_rows",
        offenders,
        "row_number",
        f"{len(table)} rows, fewer than {_LEAST}",
        "give more rows; the model that serves now goes on",
        "FAIL",
    )
