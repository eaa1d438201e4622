"""Users like those of a seed list, by how they share out what they take among kinds of products.

The weight of a kind is ln((mean share of it with the seeds + a) / (mean share with all users + a)); a user's likeness is the
mean of these weights over what the user takes.
"""

import numpy as np

from vetrina.core.types import Floats, Ints
from vetrina.features.affinities import LEVEL_FEATURES, Affinities
from vetrina.features.category_levels import LEVELS

_SMOOTHING = 1e-3
_COUNT_COLUMN = LEVEL_FEATURES.index("count")
_COMPARED_LEVELS = tuple(LEVELS.index(name) for name in ("category", "leaf", "brand", "brand in leaf"))


def seed_similarity(affinities: Affinities, seeds: Ints) -> Floats:
    """(users,) how much each is like the ``seeds`` (rows of users)."""
    is_seed = np.zeros(affinities.n_users, bool)
    is_seed[seeds] = True
    total = np.zeros(affinities.n_users)
    for level in (affinities.levels[at] for at in _COMPARED_LEVELS):
        kinds = len(level.starts) - 1
        kind = np.repeat(np.arange(kinds), np.diff(level.starts))
        counts = np.asarray(level.values[:, _COUNT_COLUMN], np.float64)
        share = counts / np.maximum(np.bincount(level.users, counts, affinities.n_users), 1e-9)[level.users]
        by_seeds = np.bincount(kind, share * is_seed[level.users], kinds) / max(1, len(seeds))
        by_all = np.bincount(kind, share, kinds) / max(1, affinities.n_users)
        weight = np.log((by_seeds + _SMOOTHING) / (by_all + _SMOOTHING))
        total += np.bincount(level.users, share * weight[kind], affinities.n_users)
    return total.astype(np.float32)
