"""Products that hold the words of a query."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Floats, Ints
from vetrina.retrieval.lexical import LexicalIndex
from vetrina.retrieval.product_words import COLUMNS, ProductWords

REASON = "holds the words you typed"


class Words:
    """The index that finds products, and the words by which those found are compared."""

    def __init__(self, folder: Path) -> None:
        self._index = LexicalIndex(folder / "index")
        words = folder / "words"
        self._words = ProductWords(words) if words.exists() else None

    def search(self, query: str, limit: int) -> tuple[Ints, Floats]:
        """Catalogue indices and their BM25, best first; any of the words may match."""
        return self._index.search(query, limit)

    def found(self, query: str, items: Ints) -> Floats:
        """(items, COLUMNS) of some products; zeros in a bundle from before they were kept."""
        if self._words is None:
            return np.zeros((len(items), len(COLUMNS)), np.float32)
        return self._words.found(query, items)


def open(folder: Path) -> Words:
    """Read what ``train`` wrote."""
    return Words(folder)
