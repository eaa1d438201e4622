"""Keyword-stuffing detection in product titles.

A stuffed title holds search words of other products: words that no other text of the product supports. An honest title
repeats what description, attributes, category and brand say, except for a few words. How many is usual differs from shop to
shop, so a title is suspected only if it has far more of them than nine in ten of the shop's titles.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.core.tokeniser import tokenise
from vetrina.core.training_data import Catalogue

_MIN_OTHER_WORDS = 10  # below which a title is not judged
_MIN_UNSUPPORTED_WORDS = 12  # below which a title is never suspected
_TYPICAL_QUANTILE = 0.9
_TYPICAL_MULTIPLE = 4.0


def is_keyword_stuffed(titles: Sequence[str], other_texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which titles (n,) are suspected of keyword stuffing; never those of products with hardly any other text.

    Args:
        titles: (n,) title of each product.
        other_texts: (n,) all other text of each product.
    """
    counts = [_count_unsupported_words(title, other) for title, other in zip(titles, other_texts, strict=True)]
    n_unsupported = np.array(counts)
    is_judged = np.array([count >= 0 for count in counts], bool)
    if not is_judged.any():
        return is_judged
    typical_count = float(np.quantile(n_unsupported[is_judged], _TYPICAL_QUANTILE))
    limit = max(_MIN_UNSUPPORTED_WORDS, _TYPICAL_MULTIPLE * typical_count)
    return is_judged & (n_unsupported >= limit)


def clean_titles(catalogue: Catalogue) -> tuple[str, ...]:
    """Return all titles; suspected ones keep only the words that other texts of the product support."""
    others = other_texts(catalogue)
    is_stuffed = is_keyword_stuffed(catalogue.titles, others)
    if not is_stuffed.any():
        return catalogue.titles
    titles = list(catalogue.titles)
    for product in np.flatnonzero(is_stuffed):
        titles[product] = _supported_part(titles[product], others[product])
    return tuple(titles)


def other_texts(catalogue: Catalogue) -> list[str]:
    """Return all text of each product except its title."""
    fields = zip(catalogue.descriptions, catalogue.categories, catalogue.brands, catalogue.attributes, strict=True)
    return [" ".join(texts) for texts in fields]


def _count_unsupported_words(title: str, other: str) -> int:
    """Distinct words of the title that the other text lacks; -1 if there is too little other text to judge."""
    other_words = set(tokenise(other))
    if len(other_words) < _MIN_OTHER_WORDS:
        return -1
    return len(set(tokenise(title)) - other_words)


def _supported_part(title: str, other: str) -> str:
    other_words = set(tokenise(other))
    return " ".join(word for word in title.split() if set(tokenise(word)) & other_words)
