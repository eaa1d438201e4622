"""Events about products that the catalogue does not hold."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"


def run(data: CheckInput) -> CheckResult:
    """Only meaningful when there is a catalogue."""
    events = data.tables["events"]
    products = data.tables.get("products")
    if products is None or "product_id" not in events.columns:
        offenders = events.clear()
    else:
        offenders = events.filter(pl.col("product_id").is_not_null()).join(products, on="product_id", how="anti")
    meaning = "the export of products is older or smaller than that of events"
    return check_result(
        "unknown_products",
        offenders,
        "product_id" if len(offenders) else "type",
        meaning,
        "recommended by behaviour, but not found by search",
    )
