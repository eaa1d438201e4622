"""One file a check: ``TABLE`` names what it reads, ``run(shop)`` says what it found."""

from dataclasses import dataclass, field

import polars as pl

from vetrina.core.types import CheckResult, CheckStatus


@dataclass(frozen=True)
class CheckInput:
    """What checks look at."""

    tables: dict[str, pl.DataFrame]
    label: str
    quarantined_rows: int
    click_fraud: pl.DataFrame = field(default_factory=pl.DataFrame)  # as ``store.click_fraud.pushes`` gives them


def check_result(
    name: str,
    offenders: pl.DataFrame,
    example_column: str,
    meaning: str,
    action: str,
    status_if_found: CheckStatus = "WARN",
) -> CheckResult:
    """PASS without offenders, ``otherwise`` with the first of them."""
    count = len(offenders)
    first = str(offenders[example_column][0])[:80] if count else ""
    return CheckResult(
        name, status_if_found if count else "PASS", count, first, meaning, action if count else "nothing to do"
    )
