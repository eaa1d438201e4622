"""The threshold that serves a goal best, against looking at every possible one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation.classification import Confusion, confusion
from vetrina.model_selection.threshold import choose_threshold

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda rows: any(r[0] for r in rows)
)


def every(label: np.ndarray, probability: np.ndarray) -> list[Confusion]:
    """Of each threshold that makes a difference and calls somebody positive."""
    return [confusion(label, probability, t) for t in sorted(set(probability.tolist()))]


def arrays(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities with many ties."""
    label, eighths = zip(*rows, strict=True)
    return np.array(label, np.float32), np.array(eighths) / 8.0


@given(ROWS)
def test_accuracy_and_f1_are_as_large_as_can_be(rows):
    label, probability = arrays(rows)
    for goal in ("accuracy", "f1"):
        matrix = confusion(label, probability, choose_threshold(label, probability, goal))
        best = max(getattr(one, goal) for one in every(label, probability))
        assert getattr(matrix, goal) == pytest.approx(best)


@given(ROWS, st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_at_least_so_much_of_one_and_as_much_as_can_be_of_the_other(rows, least):
    label, probability = arrays(rows)
    for goal, other in (("precision", "recall"), ("recall", "precision")):
        matrix = confusion(label, probability, choose_threshold(label, probability, f"{goal} {least}"))
        able = [one for one in every(label, probability) if getattr(one, goal) >= least]
        if able:
            assert getattr(matrix, goal) >= least
            assert getattr(matrix, other) == pytest.approx(max(getattr(one, other) for one in able))
        else:
            assert getattr(matrix, goal) == pytest.approx(max(getattr(o, goal) for o in every(label, probability)))


def test_without_a_goal_it_is_one_half():
    assert choose_threshold(np.ones(3), np.full(3, 0.9), "") == 0.5
