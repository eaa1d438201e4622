"""What each line is asked to foretell, on baskets worked out by hand and against a plain loop."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.training_data import Interactions
from vetrina.nn.next_item.baskets import Baskets


def baskets(lines: list[tuple[int, int, int]], length: int = 4) -> Baskets:
    """Lines of (user, time, item)."""
    user, time, item = (np.array(c) for c in zip(*lines, strict=True))
    names = np.array([f"u{n}" for n in range(user.max() + 1)])
    weight = np.ones(len(user), np.float32)
    events = Interactions(names, user.astype(np.int32), item.astype(np.int32), time.astype(float), weight, 99.0)
    return Baskets(events, item.astype(np.int64), 10, length)


def asked(basket_batch: Baskets) -> list[tuple[int, int]]:
    """(last item seen, item asked for) of every pair of every piece."""
    batch = basket_batch.batch(basket_batch.windows)
    seen = batch.inputs.ravel()[batch.positions]
    return sorted(zip(seen[batch.pair_position].tolist(), batch.target_rows.tolist(), strict=True))


def test_a_basket_is_asked_for_all_of_the_next_one_at_its_last_line():
    basket_batch = baskets([(0, 1, 1), (0, 1, 2), (0, 2, 3), (0, 2, 4), (0, 3, 5), (1, 1, 6)])
    assert asked(basket_batch) == [(2, 3), (2, 4), (4, 5)]


def test_single_events_are_plain_next_item():
    basket_batch = baskets([(0, t, t) for t in range(4)])
    assert asked(basket_batch) == [(0, 1), (1, 2), (2, 3)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 9)), min_size=2, max_size=30))
def test_every_basket_but_the_last_is_asked_once(lines):
    basket_batch = baskets(lines)
    if not len(basket_batch.windows):
        return
    expected = []
    for user in {u for u, _, _ in lines}:
        times = sorted({t for u, t, _ in lines if u == user})
        for now, then in pairwise(times):
            mine = [i for u, t, i in lines if u == user and t == now]
            expected += [(mine[-1], i) for u, t, i in lines if u == user and t == then]
    assert asked(basket_batch) == sorted(expected)
