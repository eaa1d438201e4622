"""Lookalike users: similarity to a seed list by shares of category levels.

The weight of a category is ln((its mean share among seed users + a) / (its mean share among all users + a)); a user's similarity
is the mean of these weights over the user's interactions, summed over the compared levels.
"""

import numpy as np

from vetrina.core.arrays import Floats, Ints
from vetrina.features.affinities import LEVEL_FEATURES, Affinities
from vetrina.features.category_levels import LEVELS

_SMOOTHING = 1e-3  # a in the formula
_COUNT_COLUMN = LEVEL_FEATURES.index("count")
_COMPARED_LEVELS = tuple(LEVELS.index(name) for name in ("category", "leaf", "brand", "brand in leaf"))


def seed_similarity(affinities: Affinities, seeds: Ints) -> Floats:
    """(users,) similarity of each user to the ``seeds`` (rows of users)."""
    n_users = affinities.n_users
    is_seed = np.zeros(n_users, bool)
    is_seed[seeds] = True
    similarity = np.zeros(n_users)
    for level_index in _COMPARED_LEVELS:
        level = affinities.levels[level_index]
        n_categories = len(level.starts) - 1
        category = np.repeat(np.arange(n_categories), np.diff(level.starts))
        counts = np.asarray(level.values[:, _COUNT_COLUMN], np.float64)
        total_of_user = np.maximum(np.bincount(level.users, counts, n_users), 1e-9)
        share = counts / total_of_user[level.users]
        seed_share = np.bincount(category, share * is_seed[level.users], n_categories) / max(1, len(seeds))
        overall_share = np.bincount(category, share, n_categories) / max(1, n_users)
        weight = np.log((seed_share + _SMOOTHING) / (overall_share + _SMOOTHING))
        similarity += np.bincount(level.users, share * weight[category], n_users)
    return similarity.astype(np.float32)
