"""A table too small to hold anything back."""

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "table"
_MIN_ROWS = 50


def run(data: CheckInput) -> CheckResult:
    """Fewer than fifty rows fail: a fifth of them could not judge a model."""
    table = data.tables["table"].with_row_index("row_number")
    offenders = table if len(table) < _MIN_ROWS else table.clear()
    return check_result(
        "few_rows",
        offenders,
        "row_number",
        f"{len(table)} rows, fewer than {_MIN_ROWS}",
        "give more rows; the model that serves now goes on",
        "FAIL",
    )
