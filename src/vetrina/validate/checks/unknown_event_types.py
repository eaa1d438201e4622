"""Check for event types without a weight."""

import polars as pl

from vetrina.core.columns import EVENT_TYPES
from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"


def run(data: CheckInput) -> CheckResult:
    """Warns about events of types that are not in ``core.columns``."""
    offenders = data.tables["events"].filter(~pl.col("type").is_in(sorted(EVENT_TYPES)))
    return check_result(
        "unknown_event_types",
        offenders,
        "type",
        "models do not learn from these events",
        "kept with weight 0; give a weight under [weights] in vetrina.toml",
    )
