"""Titles stuffed with what others look for: their words that nothing else said of the product bears out.

An honest title repeats what description, attributes, category and brand say, but for a few words. How few is usual differs
from shop to shop, so a title is doubted only if it has far more of them than nine in ten of the shop's titles.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Catalogue
from vetrina.core.words import words

_LEAST_TEXT, _LEAST_WORDS, _USUAL, _TIMES = 10, 12, 0.9, 4.0


def doubted(titles: Sequence[str], others: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) ``others`` hold all else that is said of each product; of those with next to nothing there is nothing to tell."""
    told = [_unborne(title, other) for title, other in zip(titles, others, strict=True)]
    judged = np.array([found is not None for found in told], bool)
    unborne = np.array([len(found or ()) for found in told])
    if not judged.any():
        return judged
    most = max(_LEAST_WORDS, _TIMES * float(np.quantile(unborne[judged], _USUAL)))
    return judged & (unborne >= most)


def honest(catalogue: Catalogue) -> tuple[str, ...]:
    """All titles; of those doubted only the words that something else bears out."""
    others = said(catalogue)
    wrong = doubted(catalogue.titles, others)
    if not wrong.any():
        return catalogue.titles
    rows = zip(catalogue.titles, others, wrong.tolist(), strict=True)
    return tuple(_kept(title, other) if so else title for title, other, so in rows)


def said(catalogue: Catalogue) -> list[str]:
    """All that is said of each product but its title."""
    rows = zip(catalogue.texts, catalogue.categories, catalogue.brands, catalogue.attributes, strict=True)
    return [" ".join(row) for row in rows]


def _unborne(title: str, other: str) -> set[str] | None:
    known = set(words(other))
    return set(words(title)) - known if len(known) >= _LEAST_TEXT else None


def _kept(title: str, other: str) -> str:
    known = set(words(other))
    return " ".join(word for word in title.split() if set(words(word)) & known)
