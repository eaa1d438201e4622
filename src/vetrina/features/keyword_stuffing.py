"""Titles stuffed with what others look for: their words that nothing else said of the product bears out.

An honest title repeats what description, attributes, category and brand say, but for a few words. How few is usual differs
from shop to shop, so a title is doubted only if it has far more of them than nine in ten of the shop's titles.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Catalogue

_MIN_OTHER_WORDS = 10
_MIN_UNSUPPORTED_WORDS = 12
_TYPICAL_QUANTILE = 0.9
_TYPICAL_MULTIPLE = 4.0


def is_keyword_stuffed(titles: Sequence[str], other_texts: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) ``others`` hold all else that is said of each product; of those with next to nothing there is nothing to tell."""
    told = [_unsupported_words(title, other) for title, other in zip(titles, other_texts, strict=True)]
    judged = np.array([found is not None for found in told], bool)
    unborne = np.array([len(found or ()) for found in told])
    if not judged.any():
        return judged
    most = max(_MIN_UNSUPPORTED_WORDS, _TYPICAL_MULTIPLE * float(np.quantile(unborne[judged], _TYPICAL_QUANTILE)))
    return judged & (unborne >= most)


def clean_titles(catalogue: Catalogue) -> tuple[str, ...]:
    """All titles; of those doubted only the words that something else bears out."""
    others = other_texts(catalogue)
    wrong = is_keyword_stuffed(catalogue.titles, others)
    if not wrong.any():
        return catalogue.titles
    rows = zip(catalogue.titles, others, wrong.tolist(), strict=True)
    return tuple(_supported_part(title, other) if so else title for title, other, so in rows)


def other_texts(catalogue: Catalogue) -> list[str]:
    """All that is said of each product but its title."""
    rows = zip(catalogue.descriptions, catalogue.categories, catalogue.brands, catalogue.attributes, strict=True)
    return [" ".join(row) for row in rows]


def _unsupported_words(title: str, other: str) -> set[str] | None:
    known = set(tokenise(other))
    return set(tokenise(title)) - known if len(known) >= _MIN_OTHER_WORDS else None


def _supported_part(title: str, other: str) -> str:
    known = set(tokenise(other))
    return " ".join(word for word in title.split() if set(tokenise(word)) & known)
