"""Bin edges of features, fixed on the first day, and the vectors that they make of raw values.

The means of the vectors of two days can be compared. A number is encoded by its quantile u among the values of the first day,
as the first two Legendre polynomials of u: they detect a shift and a change of spread, with the power that a test of all bins
lacks (Neyman's smooth test, 1937). A name is encoded by its group, a text by a few fixed directions of its embedding.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health_types import BinEdges

_N_EDGES = 65
_MAX_GROUPS = 24  # names with a column of their own
_MIN_GROUP_SHARE = 0.01  # of all values
_N_DIRECTIONS = 6
_SEED = 42


def fit_quantiles(values: NDArray[np.floating]) -> BinEdges:
    """Quantiles of ``values`` (n,), none of them missing; no edges without values."""
    if not len(values):
        return BinEdges()
    levels = np.linspace(0.0, 1.0, _N_EDGES)
    return BinEdges(edges=tuple(np.quantile(values, levels).tolist()))


def fit_groups(names: Sequence[str], counts: NDArray[np.integer]) -> BinEdges:
    """The most frequent of ``names``, by their ``counts`` (names,)."""
    min_count = _MIN_GROUP_SHARE * max(int(counts.sum()), 1)
    by_frequency = np.argsort(-counts, kind="stable")
    most_frequent: list[int] = by_frequency[:_MAX_GROUPS].tolist()
    groups: list[str] = []
    for code in most_frequent:
        if names[code] and counts[code] >= min_count:
            groups.append(names[code])
    groups.sort()
    return BinEdges(groups=tuple(groups))


def encode_numbers(bins: BinEdges, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2) Legendre features of the quantiles of ``values`` (n,). Equal values get the middle of the edges they span."""
    edges = np.array(bins.edges)
    first = np.searchsorted(edges, values, "left")
    last = np.searchsorted(edges, values, "right")
    middle = (first + last) / 2.0
    return legendre_features(middle / max(len(edges), 1))


def legendre_features(quantiles: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2) shifted Legendre polynomials of u (n,) in 0..1, of mean 0 and variance 1 if u is uniform."""
    shift = np.sqrt(3.0) * (2.0 * quantiles - 1.0)
    spread = np.sqrt(5.0) * (6.0 * quantiles * quantiles - 6.0 * quantiles + 1.0)
    return np.stack([shift, spread], 1)


def one_hot(bins: BinEdges, vocabulary: Sequence[str], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n, groups) of ``codes`` (n,) into ``vocabulary``; zeros for other names and for -1, no name."""
    column_of_group = {name: column for column, name in enumerate(bins.groups)}
    table = np.zeros((len(vocabulary) + 1, len(bins.groups)))  # the last row is that of code -1
    for code, name in enumerate(vocabulary):
        if name in column_of_group:
            table[code, column_of_group[name]] = 1.0
    return table[codes]


def flag_column(values: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 1) of flags (n,): 1 for true."""
    return values.astype(np.float64)[:, None]


def random_projection(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 6) of vectors (n, width): fixed random directions preserve distances (Johnson and Lindenstrauss 1984)."""
    width = vectors.shape[1]
    rng = np.random.default_rng(_SEED)
    directions = rng.normal(size=(width, _N_DIRECTIONS)) / np.sqrt(_N_DIRECTIONS)
    return vectors.astype(np.float64) @ directions
