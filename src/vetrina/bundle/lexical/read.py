"""BM25 search of product texts with tantivy. Knows nothing of ranking beyond words."""

from pathlib import Path

import numpy as np
import tantivy

from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Floats, Ints

BOOSTS = {"everything": 1.0, "title": 0.5}


class LexicalIndex:
    """The index that ``write_lexical_index`` wrote."""

    def __init__(self, folder: Path) -> None:
        self._index = tantivy.Index.open(str(folder))
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, query: str, limit: int) -> tuple[Ints, Floats]:
        """Return catalogue indices and BM25 scores of products with any of the words, best first, at most ``limit``."""
        return _hits(self._searcher, parse_query(self._index, query), limit)


def parse_query(index: tantivy.Index, query: str) -> tantivy.Query:
    """Return the parsed query of a user; operators and unbalanced quotes are words like any other."""
    parsed, _errors = index.parse_query_lenient(" ".join(tokenise(query)), list(BOOSTS), field_boosts=BOOSTS)
    return parsed


def _hits(searcher: tantivy.Searcher, query: tantivy.Query, limit: int) -> tuple[Ints, Floats]:
    hits = searcher.search(query, limit, count=False).hits
    items = searcher.fast_field_values("item", [address for _, address in hits]) if hits else []
    return np.array(items, np.int32), np.array([score for score, _ in hits], np.float32)
