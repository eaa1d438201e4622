"""Results of data validation."""

from dataclasses import dataclass
from typing import Literal

CheckStatus = Literal["PASS", "WARN", "FAIL"]


@dataclass(frozen=True)
class CheckResult:
    """Result of one data check.

    Attributes:
        count: Number of offending rows.
        first: The first offending value, as text.
        meaning: What the finding means for the shop.
        done: What Vetrina does about it, or what the shop should do.
    """

    name: str
    status: CheckStatus
    count: int
    first: str
    meaning: str
    done: str


@dataclass(frozen=True)
class Readiness:
    """Whether the data supports a scenario, why, and what is served as long as it does not (``meanwhile``)."""

    scenario: str
    ready: bool
    why: str
    meanwhile: str


@dataclass(frozen=True)
class DataReport:
    """All checks of one snapshot for one scenario."""

    scenario: str
    snapshot: str
    checks: tuple[CheckResult, ...]
    readiness: Readiness

    @property
    def is_ok(self) -> bool:
        """True if no check failed and the scenario has the tables that it needs."""
        no_check_failed = all(check.status != "FAIL" for check in self.checks)
        return self.readiness.ready and no_check_failed
