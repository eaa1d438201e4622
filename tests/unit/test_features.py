"""Serving's fold and training's batch must be the same feature: the replay test."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.training_data import Interactions
from vetrina.features.decayed_counts import DecayedCounts
from vetrina.features.histories import Histories, write
from vetrina.features.recent_items import RecentItems

EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 1_000_000), st.sampled_from([0.1, 0.5, 1.0])),
    min_size=1,
    max_size=60,
)


def interactions(events, until=1_000_001.0) -> Interactions:
    """Sorted by time, as the data set gives them."""
    ordered = sorted(events, key=lambda e: e[2])
    user, item, time, weight = (np.array(c) for c in zip(*ordered, strict=True))
    users, codes = np.unique(user, return_inverse=True)
    names = np.array([f"u{u}" for u in users])
    return Interactions(
        names, codes.astype(np.int32), item.astype(np.int32), time.astype(float), weight.astype(np.float32), until
    )


@given(EVENTS)
def test_a_replayed_day_gives_the_batch_counts(events):
    past = interactions(events)
    feature = DecayedCounts(half_life=100_000.0)
    starts, items, counts = feature.batch(past)
    for user in range(len(past.users)):
        state = feature.empty(0.0)
        for at in np.flatnonzero(past.user == user):
            state = feature.update(state, int(past.item[at]), float(past.time[at]), float(past.weight[at]))
        mine = slice(starts[user], starts[user + 1])
        np.testing.assert_array_equal(state.items, items[mine])
        np.testing.assert_allclose(feature.value(state, past.until), counts[mine], rtol=1e-6)


@given(EVENTS, st.randoms())
def test_late_events_count_as_if_in_order(events, random):
    feature = DecayedCounts(half_life=100_000.0)
    shuffled = list(events)
    random.shuffle(shuffled)
    values = []
    for order in (sorted(events, key=lambda e: e[2]), shuffled):
        state = feature.empty(0.0)
        for _, item, time, weight in order:
            state = feature.update(state, item, float(time), weight)
        values.append(dict(zip(state.items.tolist(), feature.value(state, 2e6).tolist(), strict=True)))
    assert values[0].keys() == values[1].keys()
    np.testing.assert_allclose([values[0][k] for k in values[0]], [values[1][k] for k in values[0]], rtol=1e-9)


@given(EVENTS, st.integers(1, 10))
def test_a_replayed_day_gives_the_batch_of_recent_items(events, length):
    past = interactions(events)
    feature = RecentItems(length)
    starts, items, times = feature.batch(past)
    for user in range(len(past.users)):
        state = feature.empty()
        for at in np.flatnonzero(past.user == user):
            state = feature.update(state, int(past.item[at]), float(past.time[at]), 1.0)
        mine = slice(starts[user], starts[user + 1])
        np.testing.assert_array_equal(state.items, items[mine])
        np.testing.assert_array_equal(state.times, times[mine])


@given(EVENTS, st.integers(1, 999_999))
def test_history_from_bundle_plus_served_events_equals_history_from_everything(tmp_path_factory, events, cut):
    whole = interactions(events)
    before = [e for e in events if e[2] < cut]
    if not before:
        return
    folder = tmp_path_factory.mktemp("histories")
    write(interactions(before, float(cut)), folder / "part")
    write(whole, folder / "all")
    part = Histories(folder / "part")
    full = Histories(folder / "all")
    for number, name in enumerate(whole.users.tolist()):
        mine = (whole.user == number) & (whole.time >= cut)
        served = [
            (int(i), float(t), float(w))
            for i, t, w in zip(whole.item[mine], whole.time[mine], whole.weight[mine], strict=True)
        ]
        a = part.history_of(name, served, whole.until)
        b = full.history_of(name, (), whole.until)
        np.testing.assert_array_equal(a.items, b.items)
        np.testing.assert_array_equal(a.counts_items, b.counts_items)
        np.testing.assert_allclose(a.counts, b.counts, rtol=1e-6)
