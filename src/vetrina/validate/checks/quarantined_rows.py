"""Rows that ingest had to set aside."""

from vetrina.core.types import CheckResult, Status
from vetrina.validate.checks import Shop

TABLE = "events"
_TOO_MANY = 0.2


def run(shop: Shop) -> CheckResult:
    """Fails when more than a fifth of everything given was unusable."""
    kept = sum(len(t) for t in shop.tables.values())
    bad = shop.quarantined
    status: Status = "PASS" if bad == 0 else "FAIL" if bad > _TOO_MANY * (kept + bad) else "WARN"
    meaning = "rows without a required value, a readable time or with a time in the future"
    done = "noted in lake/quarantine with file, row and reason; not learnt from" if bad else "nothing to do"
    return CheckResult("quarantined_rows", status, bad, "see lake/quarantine" if bad else "", meaning, done)
