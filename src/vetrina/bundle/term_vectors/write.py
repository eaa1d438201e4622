"""Writer of the term vectors."""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import bit_packing
from vetrina.bundle.term_vectors.read import KEY_FILE, hash_word, inverse_document_frequency, stems

_KEY_BYTES = 16


def write_term_vectors(titles: Iterable[str], texts: Iterable[str], folder: Path) -> None:
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
        title_words = [_number(word, number_of_word) for word in stems(title)]
        text_words = dict.fromkeys(_number(word, number_of_word) for word in stems(text))
        rows.append([*title_words, *(word for word in text_words if word not in title_words)])
        title_lengths.append(len(title_words))
    key = _key_of(number_of_word)
    hashes = np.array([hash_word(word, key) for word in number_of_word], np.uint64)
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
    bit_packing.save(folder, "text_of", np.array(text_of, np.int64))
    bit_packing.save(folder, "terms", term_of_word[all_words])
    bit_packing.save(folder, "starts", np.cumsum([0, *(len(text) - 1 for text in distinct_texts)]))
    bit_packing.save(folder, "title_lengths", np.array([length for length, *_ in distinct_texts], np.int64))
    (folder / KEY_FILE).write_bytes(key)
    np.save(folder / "term_hashes.npy", hashes[words_by_hash])
    np.save(folder / "idf.npy", inverse_document_frequency(document_counts, len(rows)))


def _document_counts(rows: list[list[int]], n_words: int) -> NDArray[np.int64]:
    """(n_words,) number of products with each word; a word twice in a title counts once."""
    words = np.array([word for row in rows for word in row], np.int64)
    lengths = np.array([len(row) for row in rows], np.int64)
    pairs = np.unique(np.repeat(np.arange(len(rows)), lengths) * n_words + words)
    return np.bincount(pairs % max(1, n_words), minlength=n_words)


def _number(word: str, number_of_word: dict[str, int]) -> int:
    """Number of a word, by first occurrence."""
    return number_of_word.setdefault(word, len(number_of_word))


def _key_of(words: Iterable[str]) -> bytes:
    """Key of the hashes: a digest of all words."""
    return blake2b("\n".join(words).encode(), digest_size=_KEY_BYTES).digest()
