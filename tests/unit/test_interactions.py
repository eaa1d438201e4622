"""Counts of interactions: moments of a user, and co-occurrence of products."""

import numpy as np

from vetrina.core.training_data import Interactions
from vetrina.data.cooccurrence import cooccurrence


def test_cooccurrence_has_a_direction_and_fades_by_steps_but_not_inside_a_basket():
    user = np.array([0, 0, 0, 1, 1], np.int32)
    item = np.array([0, 1, 2, 3, 4], np.int32)
    time = np.array([1.0, 2.0, 3.0, 5.0, 5.0])
    events = Interactions(np.array(["a", "b"]), user, item, time, np.ones(5, np.float32), 9.0)
    matrix = cooccurrence(events, 5, window=2, decay=0.5, backward_weight=0.25).toarray()
    assert matrix[0, 1] == 1.0
    assert matrix[1, 0] == 0.25
    assert matrix[0, 2] == 0.5
    assert matrix[3, 4] == matrix[4, 3] == 1.0


def test_moments_are_told_apart_however_many_users_there_are():
    times = [1.7e9, 1.7e9, 1.7e9 + 1, 1.7e9 + 1]
    user = np.array([200_000, 200_000, 200_000, 200_001], np.int32)
    weight = np.ones(4, np.float32)
    names = np.empty(0, np.str_)
    assert Interactions(names, user, user, np.array(times), weight, 9e9).n_user_timestamps == 3
    assert Interactions(names, user[:0], user[:0], np.empty(0), weight[:0], 9e9).n_user_timestamps == 0
