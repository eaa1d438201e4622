"""Check for keyword stuffing in titles."""

import polars as pl

from vetrina.core.types import CheckResult
from vetrina.features import keyword_stuffing
from vetrina.validate.checks import CheckInput, check_result

TABLE = "products"
# Columns whose words cannot support a title.
_EXCLUDED_COLUMNS = ("product_id", "title", "image", "media", "currency")


def run(data: CheckInput) -> CheckResult:
    """Warns about titles that ``features.keyword_stuffing`` reports."""
    products = data.tables["products"]
    return check_result(
        "stuffed_titles",
        _keyword_stuffed(products),
        "product_id",
        "keyword stuffing: a dozen words of the title that neither description, attributes, category nor brand support",
        "search reads only the supported words; the title is shown unchanged",
    )


def _keyword_stuffed(products: pl.DataFrame) -> pl.DataFrame:
    text_columns = [
        name
        for name, dtype in products.schema.items()
        if name not in _EXCLUDED_COLUMNS and dtype.base_type() in (pl.String, pl.Categorical)
    ]
    if "title" not in products.columns or not text_columns:
        return products.head(0)
    texts = [pl.col(name).cast(pl.String).fill_null("") for name in text_columns]
    other_texts = products.select(pl.concat_str(*texts, separator=" ")).to_series().to_list()
    titles = products["title"].cast(pl.String).fill_null("").to_list()
    is_stuffed = keyword_stuffing.is_keyword_stuffed(titles, other_texts)
    return products.filter(pl.Series(is_stuffed))
