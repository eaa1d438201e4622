"""Check for titles shared by many products."""

import polars as pl

from vetrina.core.data_report import CheckResult
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"
_MAX_REPETITIONS = 20  # products of one title


def run(data: CheckInput) -> CheckResult:
    """Warns about titles of more than twenty products, which users cannot tell apart."""
    counts = data.tables["products"].group_by("title").len().sort("len", "title", descending=True)
    return check_result(
        "repeated_titles",
        counts.filter(pl.col("len") > _MAX_REPETITIONS),
        "title",
        f"more than {_MAX_REPETITIONS} products share a title",
        "ranked among themselves by sales",
    )
