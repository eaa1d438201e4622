"""Rows that ingest had to set aside."""

from vetrina.core.types import CheckResult, CheckStatus
from vetrina.validate.checks import CheckInput

TABLE = "events"
_MAX_QUARANTINED_SHARE = 0.2


def run(data: CheckInput) -> CheckResult:
    """Fails when more than a fifth of everything given was unusable."""
    kept = sum(len(t) for t in data.tables.values())
    bad = data.quarantined_rows
    status: CheckStatus = "PASS" if bad == 0 else "FAIL" if bad > _MAX_QUARANTINED_SHARE * (kept + bad) else "WARN"
    meaning = "rows without a required value, a readable time or with a time in the future"
    done = "noted in lake/quarantine with file, row and reason; not learnt from" if bad else "nothing to do"
    return CheckResult("quarantined_rows", status, bad, "see lake/quarantine" if bad else "", meaning, done)
