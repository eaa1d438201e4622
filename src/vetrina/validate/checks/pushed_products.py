"""Events that look made up to push a product."""

from vetrina.core.types import CheckResult
from vetrina.validate.checks import Shop, result

TABLE = "events"


def run(shop: Shop) -> CheckResult:
    """Products and weeks with more users of a single day than chance allows; ``store.trust`` says how they are told."""
    many = int(shop.pushes["brief"].sum() or 0)
    return result(
        "pushed_products",
        shop.pushes,
        "product_id",
        f"far more users than ever took to them within a week, {many:,} of them for that one day only",
        'what these users did with them is not learnt from; if it was real, set "[ingest] doubt = false"',
    )
