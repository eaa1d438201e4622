"""Classification metrics for a binary label with a predicted probability.

Throughout, ``label`` (n,) is 1 for positive rows and 0 for the others, ``probability`` (n,) is the predicted one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interval

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Confusion:
    """Counts of a confusion matrix at one threshold."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all."""
        total = self.true_positive + self.false_positive + self.true_negative + self.false_negative
        return (self.true_positive + self.true_negative) / total

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 if nothing was predicted positive."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 if nothing is positive."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)


def confusion(label: Floats, probability: Floats, threshold: float = 0.5) -> Confusion:
    """Return the confusion counts when rows with ``probability >= threshold`` are predicted positive.

    Args:
        label: (n,) 1 for positive rows, 0 for the others.
        probability: (n,) predicted probabilities.
        threshold: Probability from which on a row is predicted positive.
    """
    predicted = probability >= threshold
    positive = label > 0.5
    return Confusion(
        true_positive=int((predicted & positive).sum()),
        false_positive=int((predicted & ~positive).sum()),
        true_negative=int((~predicted & ~positive).sum()),
        false_negative=int((~predicted & positive).sum()),
    )


def roc_curve(label: Floats, probability: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false and true positive rate at every distinct threshold, from (0, 0) to (1, 1)."""
    true_positives, false_positives = _cumulative_counts(label, probability)
    false_positive_rate = false_positives / max(false_positives[-1], 1)
    true_positive_rate = true_positives / max(true_positives[-1], 1)
    return false_positive_rate, true_positive_rate


def precision_recall_curve(label: Floats, probability: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall and precision at every distinct threshold, strictest first."""
    true_positives, false_positives = _cumulative_counts(label, probability)
    predicted_positives = true_positives + false_positives
    recall = true_positives[1:] / max(true_positives[-1], 1)
    precision = true_positives[1:] / predicted_positives[1:]
    return recall, precision


def roc_auc(label: Floats, probability: Floats) -> float:
    """Return the area under the ROC curve: the chance that a positive scores above a negative, ties half."""
    false_positive_rate, true_positive_rate = roc_curve(label, probability)
    return float(np.trapezoid(true_positive_rate, false_positive_rate))


def log_loss(label: Floats, probability: Floats) -> NDArray[np.float64]:
    """Return the cross-entropy (n,) of each row, -(y ln p + (1 - y) ln(1 - p)), p kept 1e-7 away from 0 and 1."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return -(label * np.log(p) + (1 - label) * np.log1p(-p))


def calibration_error(label: Floats, probability: Floats, bins: int = 15) -> float:
    """Return the expected calibration error (ECE; Naeini et al. 2015), with bins of equally many rows.

    The mean over rows of |share of positives - mean probability| in the row's bin.

    Args:
        label: (n,) 1 for positive rows, 0 for the others.
        probability: (n,) predicted probabilities.
        bins: Number of bins.
    """
    order = np.argsort(probability, kind="stable")
    weighted_gaps: list[float] = []
    for rows in np.array_split(order, bins):
        if len(rows):
            gap = abs(float(label[rows].mean()) - float(probability[rows].mean()))
            weighted_gaps.append(len(rows) * gap)
    return sum(weighted_gaps) / len(label)


def classification_metrics(
    label: Floats, probability: Floats, threshold: float, repeats: int = 500
) -> dict[str, Interval]:
    """Return accuracy, precision, recall, F1, ROC AUC and ECE by name, with 95 % bootstrap intervals over rows.

    Args:
        label: (n,) 1 for positive rows, 0 for the others.
        probability: (n,) predicted probabilities.
        threshold: Probability from which on a row is predicted positive.
        repeats: Number of bootstrap resamples (seed 42).
    """

    def metric_values(rows: NDArray[np.intp] | slice) -> list[float]:
        y = label[rows]
        p = probability[rows]
        counts = confusion(y, p, threshold)
        return [
            counts.accuracy,
            counts.precision,
            counts.recall,
            counts.f1,
            roc_auc(y, p),
            calibration_error(y, p),
        ]

    n_rows = len(label)
    rng = np.random.default_rng(42)
    resampled = np.array([metric_values(rng.integers(0, n_rows, n_rows)) for _ in range(repeats)])
    lows, highs = np.quantile(resampled, [0.025, 0.975], axis=0)
    names = ("accuracy", "precision", "recall", "F1", "ROC AUC", "calibration error (15 bins)")
    points = metric_values(slice(None))
    return {
        name: Interval(point, float(low), float(high))
        for name, point, low, high in zip(names, points, lows, highs, strict=True)
    }


def _cumulative_counts(label: Floats, probability: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True and false positives at every distinct threshold, strictest first, with a leading 0."""
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order]
    positive = label[order] > 0.5
    last_of_tie = np.append(sorted_probability[1:] != sorted_probability[:-1], True)
    true_positives = np.cumsum(positive)[last_of_tie].astype(np.float64)
    false_positives = np.cumsum(~positive)[last_of_tie].astype(np.float64)
    return np.insert(true_positives, 0, 0.0), np.insert(false_positives, 0, 0.0)


def _ratio(part: float, whole: float) -> float:
    if not whole:
        return 0.0
    return part / whole
