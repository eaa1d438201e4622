"""How like one product is to what each user took last, by vectors that say what products are.

Nothing here depends on who took the product itself, so one that nobody has seen is asked for like any other.
"""

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats, Interactions, Ints

LAST = 100  # distinct products of a user that are looked at
COLUMNS = ("likeness: nearest", "likeness: best three", "likeness: best ten", "likeness: all", "likeness: many near")
_SHARPNESS, _NOTHING, _AT_ONCE = 10.0, 1e-6, 50_000


def taken(events: Interactions, items: int, until: float) -> Ints:
    """(users, LAST) the distinct products that each user took last before ``until``, newest first, -1 where there are fewer."""
    before = events.time < until
    user, item = events.user[before], events.item[before]
    order = np.lexsort((-events.time[before], user))
    user, item = user[order], item[order]
    newest = np.sort(np.unique(user.astype(np.int64) * items + item, return_index=True)[1])
    user, item = user[newest], item[newest]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    found = np.full((len(events.users), LAST), -1, np.int32)
    kept = place < LAST
    found[user[kept], place[kept]] = item[kept]
    return found


def columns(last: Ints, vectors: Floats, vector: Floats) -> Floats:
    """(users, COLUMNS) float32 of a product's ``vector`` (width,) to users who took ``last`` (users, LAST) of ``vectors``
    (items, width): the largest products of vectors, means of the largest, and ln of the sum of exp(10 (v - 1))."""
    found = np.zeros((len(last), len(COLUMNS)), np.float32)
    if not last.size or not len(vectors):
        return found
    if last.size < len(vectors):  # few users: only what they took is compared
        distinct, at = np.unique(last, return_inverse=True)
        like = np.where(distinct >= 0, vectors[np.maximum(distinct, 0)] @ vector, np.float32(0.0))
    else:
        like, at = np.append(vectors @ vector, np.float32(0.0)), last  # the last, at -1, is of nothing taken
    at = at.reshape(last.shape)
    for start in range(0, len(last), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        found[rows] = _columns(like[at[rows]])
    return found


def _columns(like: Floats) -> Floats:
    """(users, COLUMNS) of the likenesses (users, LAST) to what each took."""
    ordered: NDArray[np.float32] = -np.sort(-like, axis=1)
    near = np.exp(_SHARPNESS * (ordered - 1.0)).sum(axis=1)
    means = [ordered[:, :most].mean(axis=1) for most in (1, 3, 10, LAST)]
    return np.stack([*means, np.log(near + _NOTHING)], axis=1)


def nearest(last: Ints, vectors: Floats, vector: Floats) -> Ints:
    """(users,) which of what each took is most like it, -1 for somebody who took nothing."""
    like = np.where(last >= 0, np.einsum("uld,d->ul", vectors[np.maximum(last, 0)], vector), -np.inf)
    best = like.argmax(axis=1)
    return last[np.arange(len(last)), best]
