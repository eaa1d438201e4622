"""Places that are kept for some products, whatever the order of the others says."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


def fill_reserved_positions(
    ranked: NDArray[np.intp], reserved: NDArray[np.intp], share: float, limit: int
) -> NDArray[np.intp]:
    """The first ``wanted`` of ``usual`` (n,) with every 1 / ``share``-th place given to the next of ``kept`` (k,).

    Nothing stands twice, and a longer list begins with the shorter one. Where ``kept`` runs out, ``usual`` goes on.
    """
    taken: set[int] = set()
    first = _not_taken(ranked.tolist(), taken)
    second = _not_taken(reserved.tolist(), taken)
    found: list[int] = []
    for place in range(1, limit + 1):
        turn = (second, first) if int(place * share + 1e-9) > int((place - 1) * share + 1e-9) else (first, second)
        one = next((n for way in turn for n in way), None)
        if one is None:
            break
        taken.add(one)
        found.append(one)
    return np.array(found, np.intp)


def _not_taken(items: Iterable[int], taken: set[int]) -> Iterator[int]:
    return (item for item in items if item not in taken)
