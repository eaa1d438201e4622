"""BM25 retrieval of products, and term-match features of candidates."""

from pathlib import Path

from vetrina.bundle.lexical.read import LexicalIndex
from vetrina.bundle.term_vectors.read import TermVectors
from vetrina.core.types import Floats, Ints


class BM25:
    """The BM25 index, and the term vectors by which candidates are compared with the query."""

    def __init__(self, folder: Path) -> None:
        self._index = LexicalIndex(folder / "index")
        self._term_vectors = TermVectors(folder / "term_vectors")

    def search(self, query: str, limit: int) -> tuple[Ints, Floats]:
        """Products (n,) that contain any word of the query and their BM25 scores (n,), best first."""
        return self._index.search(query, limit)

    def match_features(self, query: str, items: Ints) -> Floats:
        """Term-match features (items, ``MATCH_FEATURES``) of some products."""
        return self._term_vectors.match_features(query, items)


def load(folder: Path) -> BM25:
    """Opens what ``train`` wrote."""
    return BM25(folder)
