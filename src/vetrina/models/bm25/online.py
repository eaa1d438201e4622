"""Products that hold the words of a query."""

from pathlib import Path

from vetrina.core.types import Floats, Ints
from vetrina.retrieval.lexical import LexicalIndex
from vetrina.retrieval.term_vectors import TermVectors

REASON = "holds the words you typed"


class BM25:
    """The index that finds products, and the words by which those found are compared."""

    def __init__(self, folder: Path) -> None:
        self._index = LexicalIndex(folder / "index")
        self._term_vectors = TermVectors(folder / "words")

    def search(self, query: str, limit: int) -> tuple[Ints, Floats]:
        """Catalogue indices and their BM25, best first; any of the words may match."""
        return self._index.search(query, limit)

    def match_features(self, query: str, items: Ints) -> Floats:
        """(items, ``product_words.COLUMNS``) of some products."""
        return self._term_vectors.match_features(query, items)


def load(folder: Path) -> BM25:
    """Read what ``train`` wrote."""
    return BM25(folder)
