"""Products by their named properties and the words of their titles, as sparse rows of weights."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Catalogue
from vetrina.layers.sparse_rows import shape_of

_MIN_ITEMS_PER_TOKEN = 2
_MAX_ITEM_SHARE = 0.05
_MAX_ITEMS_PER_TOKEN = 1_000
_TITLE_PREFIX = "title "


def item_token_matrix(
    catalogue: Catalogue, *, with_title_words: bool, keep_common: bool = False
) -> tuple[sparse.csr_array, list[str]]:
    """(products, tokens) of ones, and the tokens, sorted.

    A token that a single product has connects nothing, one of more than one in twenty products (or of a thousand) tells
    little apart: both go. With ``usual`` up to half of all may have it.
    """
    rows = [
        [*tokens, *_title_tokens(title, with_title_words)]
        for tokens, title in zip(_property_tokens(catalogue), catalogue.titles, strict=True)
    ]
    lengths = np.array([len(row) for row in rows], np.int64)
    names, codes, counts = _encode_tokens([token for row in rows for token in row])
    most = (
        len(catalogue) / 2
        if keep_common
        else max(_MIN_ITEMS_PER_TOKEN, min(_MAX_ITEMS_PER_TOKEN, _MAX_ITEM_SHARE * len(catalogue)))
    )
    kept = (counts >= _MIN_ITEMS_PER_TOKEN) & (counts <= most)
    inside = kept[codes]
    row = np.repeat(np.arange(len(rows)), lengths)[inside]
    column = (np.cumsum(kept) - 1)[codes[inside]]
    ones = np.ones(len(row), np.float32)
    found = sparse.csr_array((ones, (row, column)), shape=(len(rows), int(kept.sum())))
    return found, [str(name) for name in names[kept]]


def tfidf(item_tokens: sparse.csr_array) -> sparse.csr_array:
    """(products, tokens) rows of length 1, so that the product of two is their cosine; rare tokens weigh more (idf)."""
    carriers = np.bincount(item_tokens.indices, minlength=shape_of(item_tokens)[1])
    weight = np.log(shape_of(item_tokens)[0] / np.maximum(carriers, 1)).astype(np.float32)
    weighed = sparse.csr_array(item_tokens @ sparse.diags_array(weight))
    norm = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    return sparse.csr_array(sparse.diags_array((1.0 / np.maximum(norm, 1e-9)).astype(np.float32)) @ weighed)


def _property_tokens(catalogue: Catalogue) -> tuple[tuple[str, ...], ...]:
    return catalogue.property_tokens or ((),) * len(catalogue)


def _title_tokens(title: str, wanted: bool) -> Iterator[str]:
    if wanted:
        yield from (_TITLE_PREFIX + word for word in dict.fromkeys(tokenise(title)))


def _encode_tokens(tokens: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not tokens:
        return np.empty(0, np.str_), np.empty(0, np.int64), np.empty(0, np.int64)
    return np.unique(np.array(tokens, dtype=object).astype(str), return_inverse=True, return_counts=True)
