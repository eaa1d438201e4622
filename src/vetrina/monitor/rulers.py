"""Turns raw values of a feature into vectors whose means can be compared.

A number is measured by its place u among the values of the first day, as the first two Legendre polynomials of u: they see a
shift and a spread, with the power that a test of all bins lacks (Neyman's smooth test, 1937). A name is measured by which group
it is, a text by a few fixed directions of its vector.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health import Ruler

_EDGES, _MOST_GROUPS, _LEAST_SHARE = 65, 24, 0.01
_DIRECTIONS, _SEED = 6, 42


def for_numbers(values: NDArray[np.floating]) -> Ruler:
    """Quantiles of ``values`` (n,), none of them missing."""
    if not len(values):
        return Ruler()
    return Ruler(edges=tuple(np.quantile(values, np.linspace(0.0, 1.0, _EDGES)).tolist()))


def for_names(known: Sequence[str], counts: NDArray[np.integer]) -> Ruler:
    """The frequent ones among ``known`` names with their ``counts`` (names,)."""
    order: list[int] = np.argsort(-counts, kind="stable")[:_MOST_GROUPS].tolist()
    kept = [known[i] for i in order if known[i] and counts[i] >= _LEAST_SHARE * max(int(counts.sum()), 1)]
    return Ruler(groups=tuple(sorted(kept)))


def numbers(ruler: Ruler, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2). Equal values share the middle of the places they span."""
    edges = np.array(ruler.edges)
    place = np.searchsorted(edges, values, "left") + np.searchsorted(edges, values, "right")
    return smooth(place / 2.0 / max(len(edges), 1))


def smooth(u: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2) shifted Legendre polynomials of u (n,) in 0..1, of mean 0 and variance 1 if u is uniform."""
    return np.stack([np.sqrt(3.0) * (2.0 * u - 1.0), np.sqrt(5.0) * (6.0 * u * u - 6.0 * u + 1.0)], 1)


def names(ruler: Ruler, known: Sequence[str], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n, groups) for ``codes`` (n,) into ``known``; -1 is no name."""
    column = {name: at for at, name in enumerate(ruler.groups)}
    table = np.zeros((len(known) + 1, len(ruler.groups)))
    for code, name in enumerate(known):
        if name in column:
            table[code, column[name]] = 1.0
    return table[codes]


def flags(values: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 1)."""
    return values.astype(np.float64)[:, None]


def meaning(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 6) of vectors (n, width): fixed random directions keep distances (Johnson and Lindenstrauss 1984)."""
    width = vectors.shape[1]
    directions = np.random.default_rng(_SEED).normal(size=(width, _DIRECTIONS)) / np.sqrt(_DIRECTIONS)
    return vectors.astype(np.float64) @ directions
