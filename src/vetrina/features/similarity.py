"""How like one product is to what each user took last, by vectors that say what products are.

Nothing here depends on who took the product itself, so one that nobody has seen is asked for like any other.
"""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats, Interactions, Ints

N_LAST_ITEMS = 100  # distinct products of a user that are looked at
SIMILARITY_FEATURES = (
    "likeness: nearest",
    "likeness: best three",
    "likeness: best ten",
    "likeness: all",
    "likeness: many near",
)
_SHARPNESS = 10.0
_EPSILON = 1e-6
_BLOCK_SIZE = 50_000


def last_items(events: Interactions, n_items: int, until: float) -> Ints:
    """(users, LAST) the distinct products that each user took last before ``until``, newest first, -1 where there are fewer."""
    before = events.time < until
    user = events.user[before]
    item = events.item[before]
    order = np.lexsort((-events.time[before], user))
    user = user[order]
    item = item[order]
    newest = np.sort(np.unique(user.astype(np.int64) * n_items + item, return_index=True)[1])
    user = user[newest]
    item = item[newest]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    found = np.full((len(events.users), N_LAST_ITEMS), -1, np.int32)
    kept = place < N_LAST_ITEMS
    found[user[kept], place[kept]] = item[kept]
    return found


def similarity_features(last_items: Ints, vectors: Floats, vector: Floats) -> Floats:
    """(users, COLUMNS) float32 of a product's ``vector`` (width,) to users who took ``last`` (users, LAST) of ``vectors``
    (items, width): the largest products of vectors, means of the largest, and ln of the sum of exp(10 (v - 1))."""
    found = np.zeros((len(last_items), len(SIMILARITY_FEATURES)), np.float32)
    if not last_items.size or not len(vectors):
        return found
    if last_items.size < len(vectors):  # few users: only what they took is compared
        distinct, at = np.unique(last_items, return_inverse=True)
        like = np.where(distinct >= 0, vectors[np.maximum(distinct, 0)] @ vector, np.float32(0.0))
    else:
        # the last, at -1, is of nothing taken
        like = np.append(vectors @ vector, np.float32(0.0))
        at = last_items
    at = at.reshape(last_items.shape)
    for start in range(0, len(last_items), _BLOCK_SIZE):
        rows = slice(start, start + _BLOCK_SIZE)
        found[rows] = _aggregate_similarities(like[at[rows]])
    return found


def _aggregate_similarities(similarities: Floats) -> Floats:
    """(users, COLUMNS) of the likenesses (users, LAST) to what each took."""
    ordered: NDArray[np.float32] = -np.sort(-similarities, axis=1)
    near = np.exp(_SHARPNESS * (ordered - 1.0)).sum(axis=1)
    means = [ordered[:, :most].mean(axis=1) for most in (1, 3, 10, N_LAST_ITEMS)]
    return np.stack([*means, np.log(near + _EPSILON)], axis=1)


def most_similar_item(last_items: Ints, vectors: Floats, vector: Floats) -> Ints:
    """(users,) which of what each took is most like it, -1 for somebody who took nothing."""
    like = np.where(last_items >= 0, np.einsum("uld,d->ul", vectors[np.maximum(last_items, 0)], vector), -np.inf)
    best = like.argmax(axis=1)
    return last_items[np.arange(len(last_items)), best]
