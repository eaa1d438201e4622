"""Term vectors of products and the term-match features of a query: coverage, phrase match, first position.

BM25 sums these away. Words are stemmed and identified by keyed 64-bit hashes (BLAKE2b). The key is a digest of all words of the
catalogue: a seller who makes up a word that should stand for another one changes the key, and with it every hash. A text of a
product is a list of term numbers, those of its title first and in order; products with the same text share it.
"""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray

from vetrina.bundle import bit_packing
from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.core.tokeniser import split_unspaced_scripts
from vetrina.core.types import Floats, Ints

COLUMNS = ("words", "title_words", "in_a_row", "first_place", "title_length")
_NO_POSITION = 99
_MAX_QUERY_WORDS = 16
_MAX_TITLE_POSITIONS = 256
_HASH_BYTES = 8
_KEY_BYTES = 16
_KEY_FILE = "key"
_ANALYZER = (
    tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    .filter(tantivy.Filter.lowercase())
    .filter(tantivy.Filter.stemmer("english"))
    .build()
)


def write(titles: Iterable[str], texts: Iterable[str], folder: Path) -> None:
    """Write the term vectors of a catalogue.

    Args:
        titles: Title of each product.
        texts: All text of each product, its title included.
        folder: Folder to write to, which must not exist.
    """
    folder.mkdir()
    number_of_word: dict[str, int] = {}
    rows: list[list[int]] = []
    title_lengths: list[int] = []
    for title, text in zip(titles, texts, strict=True):
        title_words = [_number(word, number_of_word) for word in _stems(title)]
        text_words = dict.fromkeys(_number(word, number_of_word) for word in _stems(text))
        rows.append([*title_words, *(word for word in text_words if word not in title_words)])
        title_lengths.append(len(title_words))
    key = _key_of(number_of_word)
    hashes = np.array([_hash_word(word, key) for word in number_of_word], np.uint64)
    words_by_hash = np.argsort(hashes)  # a term's number is its place in the order of the hashes
    term_of_word = np.argsort(words_by_hash)
    document_counts = _document_counts(rows, len(hashes))[words_by_hash]
    # A text is the length of the title and the terms: products with the same one share it.
    number_of_text: dict[tuple[int, ...], int] = {}
    text_of = [
        number_of_text.setdefault((length, *row), len(number_of_text))
        for length, row in zip(title_lengths, rows, strict=True)
    ]
    distinct_texts = list(number_of_text)
    all_words = np.array([word for _, *words in distinct_texts for word in words], np.int64)
    bit_packing.save(folder, "said_of", np.array(text_of, np.int64))
    bit_packing.save(folder, "numbers", term_of_word[all_words])
    bit_packing.save(folder, "starts", np.cumsum([0, *(len(text) - 1 for text in distinct_texts)]))
    bit_packing.save(folder, "titles", np.array([length for length, *_ in distinct_texts], np.int64))
    (folder / _KEY_FILE).write_bytes(key)
    np.save(folder / "names.npy", hashes[words_by_hash])
    np.save(folder / "rarity.npy", _inverse_document_frequency(document_counts, len(rows)))


def _document_counts(rows: list[list[int]], n_words: int) -> NDArray[np.int64]:
    """(n_words,) number of products with each word; a word twice in a title counts once."""
    words = np.array([word for row in rows for word in row], np.int64)
    lengths = np.array([len(row) for row in rows], np.int64)
    pairs = np.unique(np.repeat(np.arange(len(rows)), lengths) * n_words + words)
    return np.bincount(pairs % max(1, n_words), minlength=n_words)


class TermVectors:
    """The term vectors that ``write`` wrote."""

    def __init__(self, folder: Path) -> None:
        self._key = (folder / _KEY_FILE).read_bytes()
        self._term_hashes = np.load(folder / "names.npy", mmap_mode="r")
        self._terms = PackedIntegers(folder, "numbers")
        self._starts = PackedIntegers(folder, "starts")
        self._title_lengths = PackedIntegers(folder, "titles")
        self._text_of = PackedIntegers(folder, "said_of")
        self._idf = np.load(folder / "rarity.npy", mmap_mode="r")

    def match_features(self, query: str, items: Ints) -> Floats:
        """Return the match features (items, COLUMNS) of a query and some products.

        ``words`` and ``title_words`` are the shares of the query's words, by inverse document frequency, that are in the text or
        the title; ``in_a_row`` is 1 if the title has the whole query as one phrase; ``first_place`` is the number of the title's
        words before the first match.

        Args:
            query: The query of a user.
            items: (items,) catalogue indices.
        """
        query_terms = self._term_ids([_hash_word(word, self._key) for word in _stems(query)[:_MAX_QUERY_WORDS]])
        features = np.zeros((len(items), len(COLUMNS)), np.float32)
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
        largest_idf = _inverse_document_frequency(np.zeros(1), len(self._text_of))[0]
        idf = np.where(terms >= 0, self._idf[terms] if len(self._idf) else largest_idf, largest_idf)
        return (idf / idf.sum()).astype(np.float32)


def _inverse_document_frequency(document_counts: NDArray[np.int64] | NDArray[np.float64], n_documents: int) -> Floats:
    """log(1 + n_documents / (1 + document_counts))."""
    return np.log1p(n_documents / (1.0 + document_counts)).astype(np.float32)


def _stems(text: str) -> list[str]:
    return _ANALYZER.analyze(split_unspaced_scripts(text))


def _number(word: str, number_of_word: dict[str, int]) -> int:
    """Number of a word, by first occurrence."""
    return number_of_word.setdefault(word, len(number_of_word))


def _key_of(words: Iterable[str]) -> bytes:
    """Key of the hashes: a digest of all words."""
    return blake2b("\n".join(words).encode(), digest_size=_KEY_BYTES).digest()


def _hash_word(word: str, key: bytes) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=_HASH_BYTES, key=key).digest())
