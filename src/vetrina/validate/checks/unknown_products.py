"""Check for events on products that are not in the catalogue."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "events"


def run(data: CheckInput) -> CheckResult:
    """Warns about events on unknown products; passes without a catalogue."""
    events = data.tables["events"]
    products = data.tables.get("products")
    if products is None or "product_id" not in events.columns:
        offenders = events.clear()
    else:
        product_events = events.filter(pl.col("product_id").is_not_null())
        offenders = product_events.join(products, on="product_id", how="anti")
    return check_result(
        "unknown_products",
        offenders,
        "product_id",
        "the export of products is older or smaller than that of events",
        "left out: add the products, or export both anew",
    )
