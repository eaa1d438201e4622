"""Check for a labelled table too small for a hold-out."""

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "table"
_MIN_ROWS = 50


def run(data: CheckInput) -> CheckResult:
    """Fails below fifty rows: a fifth of them is too little to evaluate a model."""
    table = data.tables["table"].with_row_index("row_number")
    offenders = table if len(table) < _MIN_ROWS else table.clear()
    return check_result(
        "few_rows",
        offenders,
        "row_number",
        f"{len(table)} rows, fewer than {_MIN_ROWS}",
        "give more rows; the champion stays in service",
        "FAIL",
    )
