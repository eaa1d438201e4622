"""Lines of purchase in the order of users and time, and what each of them is asked to foretell.

All lines of one user at one moment are a basket; their order means nothing. So the last line of a basket is asked for every
line of the user's next basket. Where events come one by one, each is its own basket and this is plain next-item prediction.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interactions
from vetrina.retrieval.sequence_scorer import gap_classes


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
    pair_position: NDArray[np.int64]
    target_rows: NDArray[np.int64]


class Baskets:
    """``item`` (n,) holds each line's row of the table; row ``items`` is padding. ``pieces`` (p, 2) are [start, end) of lines."""

    def __init__(self, events: Interactions, rows: NDArray[np.int64], n_items: int, length: int) -> None:
        order = np.lexsort((np.arange(len(events)), events.time, events.user))
        user = events.user[order]
        time = events.time[order]
        self.item_rows = rows[order]
        self._padding_row = n_items
        self._length = length
        new = np.r_[True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])]
        self._basket_of_event = np.cumsum(new) - 1
        self._basket_starts = np.r_[np.flatnonzero(new), len(user)]
        of = user[self._basket_starts[:-1]]
        goes_on = np.r_[of[1:] == of[:-1], False]
        self._predicts_next = np.r_[new[1:], True] & goes_on[self._basket_of_event]
        self._gaps = gap_classes(time, new_user := np.r_[True, user[1:] != user[:-1]])
        self.windows = _split_windows(np.r_[np.flatnonzero(new_user), len(user)], length)

    def batch(self, windows: NDArray[np.int64]) -> Batch:
        """The lines of some pieces (rows of ``pieces``) but the last of each, and the next baskets of those asked."""
        start = windows[:, :1]
        end = windows[:, 1:]
        width = int((end - start).max()) - 1
        line = start + np.arange(width)
        real = line < end - 1
        line = np.where(real, line, 0)
        asked = real & self._predicts_next[line]
        following = self._basket_of_event[line[asked]] + 1
        first = self._basket_starts[following]
        counts = np.diff(self._basket_starts)[following]
        pair = np.repeat(np.arange(len(first)), counts)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
        inputs = np.where(real, self.item_rows[line], self._padding_row)
        ages = np.where(real, end - 2 - line, 0)
        gaps = np.where(real, self._gaps[line], 0)
        return Batch(inputs, ages, gaps, np.flatnonzero(asked), pair, self.item_rows[first[pair] + within])

    @property
    def n_positions(self) -> int:
        """How many lines are asked to foretell a basket."""
        return int(self._predicts_next.sum())


def _split_windows(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Each user's lines in pieces of ``length`` + 1 that overlap by one, counted from the newest."""
    found = [
        (max(start, last - length - 1), last)
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        for last in range(end, start + 1, -length)
    ]
    return np.array(found, np.int64).reshape(-1, 2)
