"""Term-match features of a query: coverage, phrase match, first position."""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray

from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.core.tokeniser import split_unspaced_scripts
from vetrina.core.types import Floats, Ints

MATCH_FEATURES = ("words", "title_words", "in_a_row", "first_place", "title_length")
_NO_POSITION = 99
_MAX_QUERY_WORDS = 16
_MAX_TITLE_POSITIONS = 256
_HASH_BYTES = 8
KEY_FILE = "key"
_ANALYZER = (
    tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    .filter(tantivy.Filter.lowercase())
    .filter(tantivy.Filter.stemmer("english"))
    .build()
)


class TermVectors:
    """The term vectors that ``write_term_vectors`` wrote."""

    def __init__(self, folder: Path) -> None:
        self._key = (folder / KEY_FILE).read_bytes()
        self._term_hashes = np.load(folder / "term_hashes.npy", mmap_mode="r")
        self._terms = PackedIntegers(folder, "terms")
        self._starts = PackedIntegers(folder, "starts")
        self._title_lengths = PackedIntegers(folder, "title_lengths")
        self._text_of = PackedIntegers(folder, "text_of")
        self._idf = np.load(folder / "idf.npy", mmap_mode="r")

    def match_features(self, query: str, items: Ints) -> Floats:
        """Return the match features (items, MATCH_FEATURES) of a query and some products.

        ``words`` and ``title_words`` are the shares of the query's words, by inverse document frequency, that are in the text or
        the title; ``in_a_row`` is 1 if the title has the whole query as one phrase; ``first_place`` is the number of the title's
        words before the first match.

        Args:
            query: The query of a user.
            items: (items,) catalogue indices.
        """
        query_terms = self._term_ids([hash_word(word, self._key) for word in stems(query)[:_MAX_QUERY_WORDS]])
        features = np.zeros((len(items), len(MATCH_FEATURES)), np.float32)
        texts = self._text_of[items]
        features[:, 3] = _NO_POSITION
        features[:, 4] = self._title_lengths[texts]
        if not len(query_terms) or not len(items):
            return features
        row, place, terms = self._terms_of_texts(texts)
        inside = place < self._title_lengths[texts][row]
        weight = self._idf_weights(query_terms)
        phrase: list[NDArray[np.int64]] = []
        for number, word in enumerate(query_terms.tolist()):
            at = np.flatnonzero(terms == word)
            titled = at[inside[at]]
            features[np.unique(row[at]), 0] += weight[number]
            features[np.unique(row[titled]), 1] += weight[number]
            np.minimum.at(features[:, 3], row[titled], place[titled])
            phrase_start = np.clip(place[titled] - number + _MAX_QUERY_WORDS, 0, _MAX_TITLE_POSITIONS - 1)
            phrase.append(row[titled] * _MAX_TITLE_POSITIONS + phrase_start)
        phrase_starts, times = np.unique(np.concatenate(phrase), return_counts=True)
        features[np.unique(phrase_starts[times >= len(query_terms)] // _MAX_TITLE_POSITIONS), 2] = 1.0
        return features

    def _terms_of_texts(
        self, texts: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.signedinteger]]:
        """The terms of some texts, one after the other: index of the text, position in it, term number."""
        starts = self._starts[texts].astype(np.int64)
        lengths = self._starts[texts + 1] - starts
        row = np.repeat(np.arange(len(texts)), lengths)
        position = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return row, position, self._terms[np.repeat(starts, lengths) + position]

    def _term_ids(self, hashes: list[int]) -> NDArray[np.int64]:
        """Term number of each word, -1 for one that no product has."""
        names = np.array(hashes, np.uint64)
        if not len(self._term_hashes):
            return np.full(len(names), -1)
        at = np.minimum(np.searchsorted(self._term_hashes, names), len(self._term_hashes) - 1)
        return np.where(self._term_hashes[at] == names, at, -1)

    def _idf_weights(self, terms: NDArray[np.int64]) -> Floats:
        """Weight of each word by inverse document frequency; they sum to 1. A word that no product has gets the largest one."""
        largest_idf = inverse_document_frequency(np.zeros(1), len(self._text_of))[0]
        idf = np.where(terms >= 0, self._idf[terms] if len(self._idf) else largest_idf, largest_idf)
        return (idf / idf.sum()).astype(np.float32)


def inverse_document_frequency(document_counts: NDArray[np.int64] | NDArray[np.float64], n_documents: int) -> Floats:
    """Return log(1 + n_documents / (1 + document_counts))."""
    return np.log1p(n_documents / (1.0 + document_counts)).astype(np.float32)


def stems(text: str) -> list[str]:
    """Return the stemmed words of a text."""
    return _ANALYZER.analyze(split_unspaced_scripts(text))


def hash_word(word: str, key: bytes) -> int:
    """Return the keyed hash of a stemmed word."""
    return int.from_bytes(blake2b(word.encode(), digest_size=_HASH_BYTES, key=key).digest())
