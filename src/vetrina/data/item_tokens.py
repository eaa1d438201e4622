"""Item-token matrix of product properties and title words, and its TF-IDF form."""

import numpy as np
from scipy import sparse

from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Catalogue
from vetrina.data.sparse_matrix import shape_of

_MIN_ITEMS_PER_TOKEN = 2
_MAX_ITEM_SHARE = 0.05  # of all items, that may have a token
_MAX_ITEMS_PER_TOKEN = 1_000
_TITLE_PREFIX = "title "


def item_token_matrix(
    catalogue: Catalogue, *, with_title_words: bool, keep_common: bool = False
) -> tuple[sparse.csr_array, list[str]]:
    """Return a matrix (items, tokens) of ones, and the tokens, sorted.

    A token of a single item connects nothing, one of more than 5 % of all items (or of a thousand) distinguishes little: both
    are left out.

    Args:
        catalogue: The items.
        with_title_words: Whether title words are tokens, beside the named properties.
        keep_common: Whether tokens of up to half of all items stay.
    """
    rows = _tokens_of_items(catalogue, with_title_words)
    row_lengths = np.array([len(row) for row in rows], np.int64)
    names, codes, item_counts = _encode_tokens([token for row in rows for token in row])
    is_kept = (item_counts >= _MIN_ITEMS_PER_TOKEN) & (item_counts <= _max_items(len(catalogue), keep_common))
    inside = is_kept[codes]
    row = np.repeat(np.arange(len(rows)), row_lengths)[inside]
    column_of_code = np.cumsum(is_kept) - 1
    column = column_of_code[codes[inside]]
    ones = np.ones(len(row), np.float32)
    matrix = sparse.csr_array((ones, (row, column)), shape=(len(rows), int(is_kept.sum())))
    return matrix, [str(name) for name in names[is_kept]]


def tfidf(item_tokens: sparse.csr_array) -> sparse.csr_array:
    """Return the TF-IDF form (items, tokens) with rows of norm 1, so that the inner product of two is their cosine."""
    n_items, n_tokens = shape_of(item_tokens)
    item_counts = np.bincount(item_tokens.indices, minlength=n_tokens)
    idf = np.log(n_items / np.maximum(item_counts, 1)).astype(np.float32)
    weighted = sparse.csr_array(item_tokens @ sparse.diags_array(idf))
    squares = weighted.multiply(weighted)
    norms = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    inverse_norms = (1.0 / np.maximum(norms, 1e-9)).astype(np.float32)
    return sparse.csr_array(sparse.diags_array(inverse_norms) @ weighted)


def _max_items(n_items: int, keep_common: bool) -> float:
    """Largest number of items that a token may have."""
    if keep_common:
        return n_items / 2
    return max(_MIN_ITEMS_PER_TOKEN, min(_MAX_ITEMS_PER_TOKEN, _MAX_ITEM_SHARE * n_items))


def _tokens_of_items(catalogue: Catalogue, with_title_words: bool) -> list[list[str]]:
    property_tokens = catalogue.property_tokens
    if not property_tokens:
        property_tokens = ((),) * len(catalogue)
    rows = []
    for tokens, title in zip(property_tokens, catalogue.titles, strict=True):
        row = list(tokens)
        if with_title_words:
            row += [_TITLE_PREFIX + word for word in dict.fromkeys(tokenise(title))]
        rows.append(row)
    return rows


def _encode_tokens(tokens: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct tokens, sorted; the number of each of ``tokens`` in them; and how often each occurs."""
    if not tokens:
        return np.empty(0, np.str_), np.empty(0, np.int64), np.empty(0, np.int64)
    names = np.array(tokens, dtype=object).astype(str)
    return np.unique(names, return_inverse=True, return_counts=True)
