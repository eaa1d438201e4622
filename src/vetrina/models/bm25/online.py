"""Products that hold the words of a query."""

from pathlib import Path

from vetrina.core.types import Floats, Ints
from vetrina.retrieval.lexical import LexicalIndex
from vetrina.retrieval.product_words import ProductWords

REASON = "holds the words you typed"


class Words:
    """The index that finds products, and the words by which those found are compared."""

    def __init__(self, folder: Path) -> None:
        self._index = LexicalIndex(folder / "index")
        self._words = ProductWords(folder / "words")

    def search(self, query: str, limit: int) -> tuple[Ints, Floats]:
        """Catalogue indices and their BM25, best first; any of the words may match."""
        return self._index.search(query, limit)

    def found(self, query: str, items: Ints) -> Floats:
        """(items, ``product_words.COLUMNS``) of some products."""
        return self._words.found(query, items)


def open(folder: Path) -> Words:
    """Read what ``train`` wrote."""
    return Words(folder)
