"""Purchase sequences cut into windows, and the next-basket targets of their positions.

All events of one user at one moment are a basket; their order means nothing. So the last event of a basket predicts every event
of the user's next basket. Where events come one by one, each is its own basket and this is plain next-item prediction.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.sequence_scorer.read import gap_classes
from vetrina.core.types import Interactions


@dataclass(frozen=True)
class Batch:
    """Inputs of some windows and the targets of their positions.

    Attributes:
        inputs: (windows, length) item rows, padded at the end.
        ages: (windows, length) number of events to the newest input of the window, which has 0.
        gaps: (windows, length) classes of the time since the event before.
        positions: (positions,) flat indices in ``inputs`` of the positions that predict a basket.
        pair_position: (pairs,) index into ``positions`` of each pair of a position and a target.
        target_rows: (pairs,) item row of each target.
    """

    inputs: NDArray[np.int64]
    ages: NDArray[np.int64]
    gaps: NDArray[np.int64]
    positions: NDArray[np.int64]
    pair_position: NDArray[np.int64]
    target_rows: NDArray[np.int64]


class Baskets:
    """All events by user and time, with their baskets.

    ``item_rows`` (events,) are the items' rows of the embedding table; ``windows`` (windows, 2) are [start, end) of events.

    Args:
        events: All events of the log.
        rows: (events,) row of each event's item in the embedding table.
        n_items: Number of rows; the next one is padding.
        length: Largest number of inputs of a window.
    """

    def __init__(self, events: Interactions, rows: NDArray[np.int64], n_items: int, length: int) -> None:
        n_events = len(events)
        order = np.lexsort((np.arange(n_events), events.time, events.user))
        user = events.user[order]
        time = events.time[order]
        self.item_rows = rows[order]
        self._padding_row = n_items
        self._length = length
        is_new_user = np.r_[True, user[1:] != user[:-1]]
        is_new_basket = np.r_[True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])]
        self._basket_of_event = np.cumsum(is_new_basket) - 1
        self._basket_starts = np.r_[np.flatnonzero(is_new_basket), len(user)]
        user_of_basket = user[self._basket_starts[:-1]]
        has_next_basket = np.r_[user_of_basket[1:] == user_of_basket[:-1], False]
        is_last_of_basket = np.r_[is_new_basket[1:], True]
        self._predicts_next = is_last_of_basket & has_next_basket[self._basket_of_event]
        self._gaps = gap_classes(time, is_new_user)
        self.windows = _split_windows(np.r_[np.flatnonzero(is_new_user), len(user)], length)

    def batch(self, windows: NDArray[np.int64]) -> Batch:
        """Return the inputs of some windows (rows of ``windows``), all events but the last of each, and their targets."""
        start = windows[:, :1]
        end = windows[:, 1:]
        width = int((end - start).max()) - 1
        event = start + np.arange(width)
        is_input = event < end - 1
        event = np.where(is_input, event, 0)
        has_target = is_input & self._predicts_next[event]
        next_basket = self._basket_of_event[event[has_target]] + 1
        next_start = self._basket_starts[next_basket]
        basket_sizes = np.diff(self._basket_starts)[next_basket]
        pair_position = np.repeat(np.arange(len(next_start)), basket_sizes)
        first_pair = np.cumsum(basket_sizes) - basket_sizes
        index_in_basket = np.arange(len(pair_position)) - np.repeat(first_pair, basket_sizes)
        target_event = next_start[pair_position] + index_in_basket
        return Batch(
            inputs=np.where(is_input, self.item_rows[event], self._padding_row),
            ages=np.where(is_input, end - 2 - event, 0),
            gaps=np.where(is_input, self._gaps[event], 0),
            positions=np.flatnonzero(has_target),
            pair_position=pair_position,
            target_rows=self.item_rows[target_event],
        )

    @property
    def n_positions(self) -> int:
        """Number of events that predict a basket."""
        return int(self._predicts_next.sum())


def _split_windows(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """[start, end) of windows (windows, 2) of ``length`` + 1 events that overlap by one, from the newest event of each user.

    Args:
        starts: (users + 1,) first event of each user, and the number of all events.
        length: Largest number of inputs of a window.
    """
    windows = []
    for user_start, user_end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        for end in range(user_end, user_start + 1, -length):
            start = max(user_start, end - length - 1)
            windows.append((start, end))
    return np.array(windows, np.int64).reshape(-1, 2)
