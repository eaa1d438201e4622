"""Which of a query's words a product holds, and where: what BM25's sum hides.

Words are stemmed and known by 32-bit hashes, of which a product holds the numbers, those of the title's words first and in
order; products of which the same is said share them. Two words of one catalogue share a hash about once in four billion pairs;
the product is then found to hold a word that it lacks.
"""

from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import numpy as np
import tantivy
from numpy.typing import NDArray

from vetrina.core import bit_packing
from vetrina.core.bit_packing import PackedIntegers
from vetrina.core.tokeniser import split_unspaced_scripts
from vetrina.core.types import Floats, Ints

COLUMNS = ("words", "title_words", "in_a_row", "first_place", "title_length")
_NO_POSITION = 99
_MAX_QUERY_WORDS = 16
_MAX_TITLE_POSITIONS = 256
_ANALYZER = (
    tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    .filter(tantivy.Filter.lowercase())
    .filter(tantivy.Filter.stemmer("english"))
    .build()
)


def write(titles: Iterable[str], texts: Iterable[str], folder: Path) -> None:
    """``texts`` are everything that is said of the products, titles included."""
    folder.mkdir()
    known: dict[str, int] = {}
    rows: list[list[int]] = []
    lengths: list[int] = []
    for title, text in zip(titles, texts, strict=True):
        first = [_hash_term(word, known) for word in _stems(title)]
        others = dict.fromkeys(_hash_term(word, known) for word in _stems(text))
        rows.append([*first, *(word for word in others if word not in first)])
        lengths.append(len(first))
    words = np.array([word for row in rows for word in row], np.uint32)
    starts = np.cumsum([0, *map(len, rows)])
    # A word twice in a title counts once.
    held = np.unique(np.repeat(np.arange(len(rows), dtype=np.uint64), np.diff(starts)) << np.uint64(32) | words)
    names, carriers = np.unique((held & np.uint64(0xFFFFFFFF)).astype(np.uint32), return_counts=True)
    number: dict[tuple[int, ...], int] = {}  # of what is said, which is of a title's length and of words
    said_of = [number.setdefault((length, *row), len(number)) for length, row in zip(lengths, rows, strict=True)]
    said = list(number)
    bit_packing.save(folder, "said_of", np.array(said_of, np.int64))
    bit_packing.save(folder, "numbers", np.searchsorted(names, [word for _, *row in said for word in row]))
    bit_packing.save(folder, "starts", np.cumsum([0, *(len(row) - 1 for row in said)]))
    bit_packing.save(folder, "titles", np.array([length for length, *_ in said], np.int64))
    np.save(folder / "names.npy", names)
    np.save(folder / "rarity.npy", _inverse_document_frequency(carriers, len(rows)))


class TermVectors:
    """Opens what ``write`` wrote."""

    def __init__(self, folder: Path) -> None:
        self._term_hashes = np.load(folder / "names.npy", mmap_mode="r")
        self._terms = PackedIntegers(folder, "numbers")
        self._starts = PackedIntegers(folder, "starts")
        self._title_lengths = PackedIntegers(folder, "titles")
        self._text_of = PackedIntegers(folder, "said_of")
        self._idf = np.load(folder / "rarity.npy", mmap_mode="r")

    def match_features(self, query: str, items: Ints) -> Floats:
        """(items, COLUMNS) of some products.

        ``words`` and ``title_words`` are shares of the query's words by their rarity (inverse document frequency) that the
        product or its title holds, ``in_a_row`` is 1 where the title holds the whole query as one phrase, ``first_place`` counts
        the title's words before the first that was asked for.
        """
        asked = self._term_ids([crc32(word.encode()) for word in _stems(query)[:_MAX_QUERY_WORDS]])
        found = np.zeros((len(items), len(COLUMNS)), np.float32)
        said = self._text_of[items]
        found[:, 3] = _NO_POSITION
        found[:, 4] = self._title_lengths[said]
        if not len(asked) or not len(items):
            return found
        row, place, held = self._terms_of_texts(said)
        inside = place < self._title_lengths[said][row]
        weight = self._idf_weights(asked)
        phrase: list[NDArray[np.int64]] = []
        for number, word in enumerate(asked.tolist()):
            at = np.flatnonzero(held == word)
            titled = at[inside[at]]
            found[np.unique(row[at]), 0] += weight[number]
            found[np.unique(row[titled]), 1] += weight[number]
            np.minimum.at(found[:, 3], row[titled], place[titled])
            begin = np.clip(place[titled] - number + _MAX_QUERY_WORDS, 0, _MAX_TITLE_POSITIONS - 1)
            phrase.append(row[titled] * _MAX_TITLE_POSITIONS + begin)
        begins, times = np.unique(np.concatenate(phrase), return_counts=True)
        found[np.unique(begins[times >= len(asked)] // _MAX_TITLE_POSITIONS), 2] = 1.0
        return found

    def _terms_of_texts(
        self, said: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.signedinteger]]:
        """The numbers of the words of what is said, one after the other: whose, at which place, which."""
        starts = self._starts[said].astype(np.int64)
        lengths = self._starts[said + 1] - starts
        row = np.repeat(np.arange(len(said)), lengths)
        place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return row, place, self._terms[np.repeat(starts, lengths) + place]

    def _term_ids(self, hashes: list[int]) -> NDArray[np.int64]:
        """The number of each word, -1 of one that no product holds."""
        names = np.array(hashes, np.uint32)
        if not len(self._term_hashes):
            return np.full(len(names), -1)
        at = np.minimum(np.searchsorted(self._term_hashes, names), len(self._term_hashes) - 1)
        return np.where(self._term_hashes[at] == names, at, -1)

    def _idf_weights(self, asked: NDArray[np.int64]) -> Floats:
        """Shares of the words, by rarity; they sum to 1. A word that no product holds is as rare as can be."""
        none = _inverse_document_frequency(np.zeros(1), len(self._text_of))[0]
        rarity = np.where(asked >= 0, self._idf[asked] if len(self._idf) else none, none)
        return (rarity / rarity.sum()).astype(np.float32)


def _inverse_document_frequency(carriers: NDArray[np.int64] | NDArray[np.float64], products: int) -> Floats:
    """log(1 + products / (1 + carriers))."""
    return np.log1p(products / (1.0 + carriers)).astype(np.float32)


def _stems(text: str) -> list[str]:
    return _ANALYZER.analyze(split_unspaced_scripts(text))


def _hash_term(word: str, known: dict[str, int]) -> int:
    if word not in known:
        known[word] = crc32(word.encode())
    return known[word]
