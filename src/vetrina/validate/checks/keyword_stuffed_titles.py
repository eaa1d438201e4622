"""Titles full of words that nothing else says of the product."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.features import keyword_stuffing
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"
_EXCLUDED_COLUMNS = ("product_id", "title", "image", "media", "currency")


def run(data: CheckInput) -> CheckResult:
    """Titles that ``features.keyword_stuffing`` doubts."""
    products = data.tables["products"]
    spoken = [
        c for c, kind in products.schema.items() if c not in _EXCLUDED_COLUMNS and kind in (pl.String, pl.Categorical)
    ]
    offenders = products.head(0)
    if "title" in products.columns and spoken:
        texts = (pl.col(c).cast(pl.String).fill_null("") for c in spoken)
        others = products.select(pl.concat_str(*texts, separator=" ")).to_series().to_list()
        doubted = keyword_stuffing.is_keyword_stuffed(products["title"].cast(pl.String).fill_null("").to_list(), others)
        offenders = products.filter(pl.Series(doubted))
    return check_result(
        "stuffed_titles",
        offenders,
        "product_id",
        "a dozen words that neither description nor attributes, category or brand bear out: what others look for, perhaps",
        "search reads only the words that are borne out; the title is shown as it is",
    )
