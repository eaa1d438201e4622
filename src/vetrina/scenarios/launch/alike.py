"""Users like those of a seed list, by how they share out what they take among kinds of products.

The weight of a kind is ln((mean share of it with the seeds + a) / (mean share with all users + a)); a user's likeness is the
mean of these weights over what the user takes.
"""

import numpy as np

from vetrina.core.types import Floats, Ints
from vetrina.features.affinities import COUNTED, Affinities
from vetrina.features.kinds import LEVELS

_SMOOTHING, _COUNT = 1e-3, COUNTED.index("count")
_COMPARED = tuple(LEVELS.index(name) for name in ("category", "leaf", "brand", "brand in leaf"))


def likeness(affinities: Affinities, seeds: Ints) -> Floats:
    """(users,) how much each is like the ``seeds`` (rows of users)."""
    is_seed = np.zeros(affinities.users, bool)
    is_seed[seeds] = True
    total = np.zeros(affinities.users)
    for level in (affinities.levels[at] for at in _COMPARED):
        kinds = len(level.starts) - 1
        kind = np.repeat(np.arange(kinds), np.diff(level.starts))
        counts = np.asarray(level.numbers[:, _COUNT], np.float64)
        share = counts / np.maximum(np.bincount(level.users, counts, affinities.users), 1e-9)[level.users]
        by_seeds = np.bincount(kind, share * is_seed[level.users], kinds) / max(1, len(seeds))
        by_all = np.bincount(kind, share, kinds) / max(1, affinities.users)
        weight = np.log((by_seeds + _SMOOTHING) / (by_all + _SMOOTHING))
        total += np.bincount(level.users, share * weight[kind], affinities.users)
    return total.astype(np.float32)
