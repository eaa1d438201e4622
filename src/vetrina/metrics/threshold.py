"""The threshold of a yes-or-no answer that serves a stated goal best."""

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.classification import Floats

DEFAULT_THRESHOLD = 0.5


def choose_threshold(label: Floats, probability: Floats, goal: str) -> float:
    """The probability from which on rows (rows,) are called positive; USUAL without a goal.

    ``accuracy`` and ``f1`` are made as large as can be; ``precision P`` takes the largest recall with at least that precision,
    ``recall R`` the largest precision with at least that recall. Where no threshold reaches P, the one with the largest
    precision. Of equal ones the highest threshold.
    """
    if not goal or not len(label):
        return DEFAULT_THRESHOLD
    order = np.argsort(-probability, kind="stable")
    score = probability[order].astype(np.float64)
    true = label[order] > 0.5
    last = np.append(score[1:] != score[:-1], True)
    called = np.cumsum(np.ones(len(score)))[last]
    right = np.cumsum(true)[last].astype(np.float64)
    precision = right / called
    recall = right / max(float(true.sum()), 1.0)
    at = int(np.argmax(_goal_values(goal, called, right, precision, recall, len(label))))
    edges = score[last]
    # Half way to the next row, so that a rounding of either decides nothing.
    return float((edges[at] + edges[at + 1]) / 2 if at + 1 < len(edges) else edges[at])


def _goal_values(
    goal: str,
    called: NDArray[np.float64],
    right: NDArray[np.float64],
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    rows: int,
) -> NDArray[np.float64]:
    name, _, least = goal.partition(" ")
    if name == "accuracy":
        return (2.0 * right - called) / rows
    if name == "f1":
        return 2.0 * precision * recall / np.maximum(precision + recall, 1e-12)
    wanted, other = (precision, recall) if name == "precision" else (recall, precision)
    enough = wanted >= float(least)
    return np.where(enough, 1.0 + other, 0.0) if enough.any() else wanted
