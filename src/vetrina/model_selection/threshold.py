"""Decision threshold of a binary classifier for a stated goal: accuracy, F1, precision or recall."""

import numpy as np
from numpy.typing import NDArray

from vetrina.evaluation.classification import Floats

DEFAULT_THRESHOLD = 0.5


def choose_threshold(label: Floats, probability: Floats, goal: str) -> float:
    """Return the probability from which on rows are predicted positive; DEFAULT_THRESHOLD without a goal or rows.

    Of thresholds that serve the goal equally the highest.

    Args:
        label: (n,) 1 for positive rows, 0 for the others.
        probability: (n,) predicted probabilities.
        goal: ``accuracy`` or ``f1`` for the largest such value; ``precision P`` for the largest recall with at least
            precision P, ``recall R`` for the largest precision with at least recall R. Where no threshold reaches P (or
            R), the one that comes nearest.
    """
    if not goal or not len(label):
        return DEFAULT_THRESHOLD
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order].astype(np.float64)
    positive = label[order] > 0.5
    last_of_tie = np.append(sorted_probability[1:] != sorted_probability[:-1], True)
    n_predicted = np.cumsum(np.ones(len(sorted_probability)))[last_of_tie]
    n_true = np.cumsum(positive)[last_of_tie].astype(np.float64)
    best = int(np.argmax(_goal_values(goal, n_predicted, n_true, float(positive.sum()), len(label))))
    thresholds = sorted_probability[last_of_tie]
    if best + 1 == len(thresholds):
        return float(thresholds[best])
    # Half way to the next row, so that rounding errors decide nothing.
    return float((thresholds[best] + thresholds[best + 1]) / 2)


def _goal_values(
    goal: str,
    n_predicted: NDArray[np.float64],
    n_true: NDArray[np.float64],
    n_positive: float,
    n_rows: int,
) -> NDArray[np.float64]:
    """(thresholds,) numbers whose largest one is the best threshold for ``goal``.

    Args:
        goal: As in ``choose_threshold``.
        n_predicted: (thresholds,) rows that are predicted positive.
        n_true: (thresholds,) positive rows among them.
        n_positive: Positive rows in all.
        n_rows: Rows in all.
    """
    name, _, least = goal.partition(" ")
    precision = n_true / n_predicted
    recall = n_true / max(n_positive, 1.0)
    if name == "accuracy":
        return (2.0 * n_true - n_predicted) / n_rows
    if name == "f1":
        return 2.0 * precision * recall / np.maximum(precision + recall, 1e-12)
    required = recall
    maximised = precision
    if name == "precision":
        required = precision
        maximised = recall
    reached = required >= float(least)
    if not reached.any():
        return required
    return np.where(reached, 1.0 + maximised, 0.0)
