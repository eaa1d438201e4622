"""Turns raw values of a feature into vectors whose means can be compared.

A number is measured by its place u among the values of the first day, as the first two Legendre polynomials of u: they see a
shift and a spread, with the power that a test of all bins lacks (Neyman's smooth test, 1937). A name is measured by which group
it is, a text by a few fixed directions of its vector.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health_types import BinEdges

_N_EDGES = 65
_MAX_GROUPS = 24
_MIN_GROUP_SHARE = 0.01
_N_DIRECTIONS = 6
_SEED = 42


def fit_quantiles(values: NDArray[np.floating]) -> BinEdges:
    """Quantiles of ``values`` (n,), none of them missing."""
    if not len(values):
        return BinEdges()
    return BinEdges(edges=tuple(np.quantile(values, np.linspace(0.0, 1.0, _N_EDGES)).tolist()))


def fit_groups(names: Sequence[str], counts: NDArray[np.integer]) -> BinEdges:
    """The frequent ones among ``known`` names with their ``counts`` (names,)."""
    order: list[int] = np.argsort(-counts, kind="stable")[:_MAX_GROUPS].tolist()
    kept = [names[i] for i in order if names[i] and counts[i] >= _MIN_GROUP_SHARE * max(int(counts.sum()), 1)]
    return BinEdges(groups=tuple(sorted(kept)))


def encode_numbers(bins: BinEdges, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2). Equal values share the middle of the places they span."""
    edges = np.array(bins.edges)
    place = np.searchsorted(edges, values, "left") + np.searchsorted(edges, values, "right")
    return legendre_features(place / 2.0 / max(len(edges), 1))


def legendre_features(quantiles: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2) shifted Legendre polynomials of u (n,) in 0..1, of mean 0 and variance 1 if u is uniform."""
    return np.stack(
        [np.sqrt(3.0) * (2.0 * quantiles - 1.0), np.sqrt(5.0) * (6.0 * quantiles * quantiles - 6.0 * quantiles + 1.0)],
        1,
    )


def one_hot(bins: BinEdges, vocabulary: Sequence[str], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n, groups) for ``codes`` (n,) into ``known``; -1 is no name."""
    column = {name: at for at, name in enumerate(bins.groups)}
    table = np.zeros((len(vocabulary) + 1, len(bins.groups)))
    for code, name in enumerate(vocabulary):
        if name in column:
            table[code, column[name]] = 1.0
    return table[codes]


def flag_column(values: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 1)."""
    return values.astype(np.float64)[:, None]


def random_projection(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 6) of vectors (n, width): fixed random directions keep distances (Johnson and Lindenstrauss 1984)."""
    width = vectors.shape[1]
    directions = np.random.default_rng(_SEED).normal(size=(width, _N_DIRECTIONS)) / np.sqrt(_N_DIRECTIONS)
    return vectors.astype(np.float64) @ directions
