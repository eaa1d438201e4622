"""Check for too many quarantined rows."""

from vetrina.core.data_report import CheckResult, CheckStatus
from vetrina.validate.checks import CheckInput

TABLE = "events"
_MAX_QUARANTINED_SHARE = 0.2  # of the rows of all tables


def run(data: CheckInput) -> CheckResult:
    """Fails if more than a fifth of all rows were rejected, warns if any were."""
    meaning = "rows without a required value, a readable time or with a time in the future"
    n_accepted = sum(len(table) for table in data.tables.values())
    n_rejected = data.quarantined_rows
    if n_rejected == 0:
        return CheckResult("quarantined_rows", "PASS", 0, "", meaning, "nothing to do")
    max_rejected = _MAX_QUARANTINED_SHARE * (n_accepted + n_rejected)
    status: CheckStatus = "FAIL" if n_rejected > max_rejected else "WARN"
    action = "noted in lake/quarantine with file, row and reason; excluded from training"
    return CheckResult("quarantined_rows", status, n_rejected, "see lake/quarantine", meaning, action)
