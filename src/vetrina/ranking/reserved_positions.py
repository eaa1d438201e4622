"""Reserved positions in a ranked list, such as those for cold-start items."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray


def fill_reserved_positions(
    ranked: NDArray[np.intp], reserved: NDArray[np.intp], share: float, limit: int
) -> NDArray[np.intp]:
    """Return the first ``limit`` of ``ranked`` with every 1 / ``share``-th position given to the next of ``reserved``.

    No item is in the list twice, and a longer list begins with the shorter one. Where one of the two runs out, the other goes
    on.

    Args:
        ranked: (n,) items, best first.
        reserved: (k,) items for the reserved positions, best first.
        share: Share of positions that are reserved, between 0 and 1.
        limit: Length of the list.
    """
    placed: set[int] = set()
    next_ranked = _not_placed(ranked.tolist(), placed)
    next_reserved = _not_placed(reserved.tolist(), placed)
    items: list[int] = []
    for position in range(1, limit + 1):
        is_reserved = int(position * share + 1e-9) > int((position - 1) * share + 1e-9)
        sources = (next_ranked, next_reserved)
        if is_reserved:
            sources = (next_reserved, next_ranked)
        item = next(chain(*sources), None)
        if item is None:
            break
        placed.add(item)
        items.append(item)
    return np.array(items, np.intp)


def _not_placed(items: Iterable[int], placed: set[int]) -> Iterator[int]:
    return (item for item in items if item not in placed)
