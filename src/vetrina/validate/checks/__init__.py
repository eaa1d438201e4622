"""One file a check: ``TABLE`` names what it reads, ``run(shop)`` says what it found."""

from dataclasses import dataclass, field

import polars as pl

from vetrina.core.types import CheckResult, Status


@dataclass(frozen=True)
class Shop:
    """What checks look at."""

    tables: dict[str, pl.DataFrame]
    label: str
    quarantined: int
    pushes: pl.DataFrame = field(default_factory=pl.DataFrame)  # as ``store.trust.pushes`` gives them


def result(
    name: str, offenders: pl.DataFrame, show: str, meaning: str, done: str, otherwise: Status = "WARN"
) -> CheckResult:
    """PASS without offenders, ``otherwise`` with the first of them."""
    count = len(offenders)
    first = str(offenders[show][0])[:80] if count else ""
    return CheckResult(name, otherwise if count else "PASS", count, first, meaning, done if count else "nothing to do")
