"""Lines of purchase in the order of users and time, and what each of them is asked to foretell.

All lines of one user at one moment are a basket; their order means nothing. So the last line of a basket is asked for every
line of the user's next basket. Where events come one by one, each is its own basket and this is plain next-item prediction.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interactions
from vetrina.retrieval.next_item import gaps


@dataclass(frozen=True)
class Batch:
    """``inputs`` (pieces, length) item rows, padded at the end; ``positions`` (P,) flat places in it that are asked.

    ``ages`` (pieces, length) count from the newest line of a piece, which has 0; ``gaps`` (pieces, length) are classes of the
    time since the line before. Pair k asks position ``pair[k]`` (an index into ``positions``) for the item row ``target[k]``.
    """

    inputs: NDArray[np.int64]
    ages: NDArray[np.int64]
    gaps: NDArray[np.int64]
    positions: NDArray[np.int64]
    pair: NDArray[np.int64]
    target: NDArray[np.int64]


class Baskets:
    """``item`` (n,) holds each line's row of the table; row ``items`` is padding. ``pieces`` (p, 2) are [start, end) of lines."""

    def __init__(self, events: Interactions, rows: NDArray[np.int64], items: int, length: int) -> None:
        order = np.lexsort((np.arange(len(events)), events.time, events.user))
        user, time = events.user[order], events.time[order]
        self.item, self._padding, self._length = rows[order], items, length
        new = np.r_[True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])]
        self._basket = np.cumsum(new) - 1
        self._starts = np.r_[np.flatnonzero(new), len(user)]
        of = user[self._starts[:-1]]
        goes_on = np.r_[of[1:] == of[:-1], False]
        self._asked = np.r_[new[1:], True] & goes_on[self._basket]
        self._gaps = gaps(time, new_user := np.r_[True, user[1:] != user[:-1]])
        self.pieces = _pieces(np.r_[np.flatnonzero(new_user), len(user)], length)

    def batch(self, pieces: NDArray[np.int64]) -> Batch:
        """The lines of some pieces (rows of ``pieces``) but the last of each, and the next baskets of those asked."""
        start, end = pieces[:, :1], pieces[:, 1:]
        width = int((end - start).max()) - 1
        line = start + np.arange(width)
        real = line < end - 1
        line = np.where(real, line, 0)
        asked = real & self._asked[line]
        following = self._basket[line[asked]] + 1
        first, counts = self._starts[following], np.diff(self._starts)[following]
        pair = np.repeat(np.arange(len(first)), counts)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
        inputs = np.where(real, self.item[line], self._padding)
        ages = np.where(real, end - 2 - line, 0)
        gaps = np.where(real, self._gaps[line], 0)
        return Batch(inputs, ages, gaps, np.flatnonzero(asked), pair, self.item[first[pair] + within])

    @property
    def asked(self) -> int:
        """How many lines are asked to foretell a basket."""
        return int(self._asked.sum())


def _pieces(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Each user's lines in pieces of ``length`` + 1 that overlap by one, counted from the newest."""
    found = [
        (max(start, last - length - 1), last)
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        for last in range(end, start + 1, -length)
    ]
    return np.array(found, np.int64).reshape(-1, 2)
