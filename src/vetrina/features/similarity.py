"""Similarity of a product to the items that each user took last, by product embeddings.

The features depend on the product's embedding only, not on its events, so they exist for cold-start items too.
"""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats, Interactions, Ints

N_LAST_ITEMS = 100  # distinct last items of a user that are compared
SIMILARITY_FEATURES = (
    "similarity: nearest",
    "similarity: best three",
    "similarity: best ten",
    "similarity: all",
    "similarity: many near",
)
_MEANS_OF_LARGEST = (1, 3, 10, N_LAST_ITEMS)
_SHARPNESS = 10.0
_EPSILON = 1e-6
_BLOCK_SIZE = 50_000  # users that are sorted at once


def last_items(events: Interactions, n_items: int, until: float) -> Ints:
    """Return the last distinct items (users, N_LAST_ITEMS) of each user, newest first, -1 where there are fewer.

    Args:
        events: All events of the log.
        n_items: Number of items in the catalogue.
        until: Time before which events count, in seconds.
    """
    is_before = events.time < until
    time = events.time[is_before]
    order = np.lexsort((-time, events.user[is_before]))
    user = events.user[is_before][order]
    item = events.item[is_before][order]
    # The first row of each pair of user and item, newest first.
    _, first_rows = np.unique(user.astype(np.int64) * n_items + item, return_index=True)
    newest = np.sort(first_rows)
    user = user[newest]
    item = item[newest]
    position = np.arange(len(user)) - np.searchsorted(user, user)
    is_last = position < N_LAST_ITEMS
    items = np.full((len(events.users), N_LAST_ITEMS), -1, np.int32)
    items[user[is_last], position[is_last]] = item[is_last]
    return items


def similarity_features(last_items: Ints, vectors: Floats, vector: Floats) -> Floats:
    """Return the similarities (users, SIMILARITY_FEATURES) float32 of a product to each user's last items.

    The largest inner product v, the means of the largest 3, 10 and N_LAST_ITEMS, and ln of the sum of exp(10 (v - 1)).

    Args:
        last_items: (users, N_LAST_ITEMS) item indices, -1 for none, see ``last_items``.
        vectors: (items, width) unit embeddings of the catalogue.
        vector: (width,) unit embedding of the product.
    """
    features = np.zeros((len(last_items), len(SIMILARITY_FEATURES)), np.float32)
    if not last_items.size or not len(vectors):
        return features
    if last_items.size < len(vectors):  # few users: only their items are compared
        items, rows = np.unique(last_items, return_inverse=True)
        products = vectors[np.maximum(items, 0)] @ vector
        similarities = np.where(items >= 0, products, np.float32(0.0))
    else:
        # -1, no item, is the last of these.
        similarities = np.append(vectors @ vector, np.float32(0.0))
        rows = last_items
    rows = rows.reshape(last_items.shape)
    for start in range(0, len(last_items), _BLOCK_SIZE):
        block = slice(start, start + _BLOCK_SIZE)
        features[block] = _aggregate_similarities(similarities[rows[block]])
    return features


def _aggregate_similarities(similarities: Floats) -> Floats:
    """(users, SIMILARITY_FEATURES) of the similarities (users, N_LAST_ITEMS) to each user's last items."""
    descending: NDArray[np.float32] = -np.sort(-similarities, axis=1)
    near = np.exp(_SHARPNESS * (descending - 1.0)).sum(axis=1)
    means = [descending[:, :count].mean(axis=1) for count in _MEANS_OF_LARGEST]
    return np.stack([*means, np.log(near + _EPSILON)], axis=1)


def most_similar_item(last_items: Ints, vectors: Floats, vector: Floats) -> Ints:
    """Return the most similar of each user's last items (users,), -1 for a user without items.

    Args:
        last_items: (users, N_LAST_ITEMS) item indices, -1 for none, see ``last_items``.
        vectors: (items, width) unit embeddings of the catalogue.
        vector: (width,) unit embedding of the product.
    """
    products = np.einsum("uld,d->ul", vectors[np.maximum(last_items, 0)], vector)
    similarities = np.where(last_items >= 0, products, -np.inf)
    best = similarities.argmax(axis=1)
    return last_items[np.arange(len(last_items)), best]
