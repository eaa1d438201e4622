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
        words_outside_title = [word for word in text_words if word not in title_words]
        rows.append([*title_words, *words_outside_title])
        title_lengths.append(len(title_words))
    key = _key_of(number_of_word)
    hashes = np.array([hash_word(word, key) for word in number_of_word], np.uint64)
    words_by_hash = np.argsort(hashes)  # a term's number is its place in the order of the hashes
    term_of_word = np.argsort(words_by_hash)
    document_counts = _document_counts(rows, len(hashes))[words_by_hash]
    (folder / KEY_FILE).write_bytes(key)
    np.save(folder / "term_hashes.npy", hashes[words_by_hash])
    np.save(folder / "idf.npy", inverse_document_frequency(document_counts, len(rows)))
    _write_texts(rows, title_lengths, term_of_word, folder)


def _write_texts(
    rows: list[list[int]], title_lengths: list[int], term_of_word: NDArray[np.integer], folder: Path
) -> None:
    """Write each distinct text once: the length of its title, and its terms.

    Args:
        rows: Word numbers of each product, those of its title first.
        title_lengths: How many of them are the title's.
        term_of_word: (words,) term number of each word.
        folder: Folder to write to.
    """
    number_of_text: dict[tuple[int, ...], int] = {}
    text_of: list[int] = []
    for length, row in zip(title_lengths, rows, strict=True):
        text_of.append(number_of_text.setdefault((length, *row), len(number_of_text)))
    words: list[int] = []
    starts = [0]
    lengths: list[int] = []
    for length, *text_words in number_of_text:
        words.extend(text_words)
        starts.append(len(words))
        lengths.append(length)
    bit_packing.save(folder, "text_of", np.array(text_of, np.int64))
    bit_packing.save(folder, "terms", term_of_word[np.array(words, np.int64)])
    bit_packing.save(folder, "starts", np.array(starts, np.int64))
    bit_packing.save(folder, "title_lengths", np.array(lengths, np.int64))


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
