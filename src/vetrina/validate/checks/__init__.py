"""Data checks, one file each, and the input that they share.

Each module names the table that it needs (``TABLE``) and has a function ``run(data: CheckInput) -> CheckResult``.
"""

from dataclasses import dataclass, field

import polars as pl

from vetrina.core.data_report import CheckResult, CheckStatus


@dataclass(frozen=True)
class CheckInput:
    """Input of all checks.

    Attributes:
        tables: Tables of the snapshot by name; events are sorted by time.
        label: Label column of the labelled table, empty without one.
        quarantined_rows: Number of rejected rows.
        click_fraud: Suspected click fraud, as ``data.click_fraud.detect_click_fraud`` returns it.
    """

    tables: dict[str, pl.DataFrame]
    label: str
    quarantined_rows: int
    click_fraud: pl.DataFrame = field(default_factory=pl.DataFrame)


def check_result(
    name: str,
    offenders: pl.DataFrame,
    example_column: str,
    meaning: str,
    action: str,
    status_if_found: CheckStatus = "WARN",
) -> CheckResult:
    """The result of a check: PASS without offending rows.

    Args:
        name: Name of the check.
        offenders: Offending rows.
        example_column: Column whose first value is shown as an example.
        meaning: What offending rows mean for the shop.
        action: What Vetrina does about them, or what the shop should do.
        status_if_found: Status with offending rows.
    """
    count = len(offenders)
    if count == 0:
        return CheckResult(name, "PASS", 0, "", meaning, "nothing to do")
    example = str(offenders[example_column][0])[:80]
    return CheckResult(name, status_if_found, count, example, meaning, action)
