"""Figures for a yes-or-no answer with a probability."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Interval

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold."""

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
        """TP / (TP + FP); 0 if nothing was called positive."""
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
    """Counts with ``probability >= threshold`` called positive."""
    said = probability >= threshold
    true = label > 0.5
    counts = ((said & true), (said & ~true), (~said & ~true), (~said & true))
    return Confusion(*(int(c.sum()) for c in counts))


def roc_curve(label: Floats, probability: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rate at every distinct threshold, from (0, 0) to (1, 1)."""
    true_positive, false_positive = _cumulative_counts(label, probability)
    return false_positive / max(false_positive[-1], 1), true_positive / max(true_positive[-1], 1)


def precision_recall_curve(label: Floats, probability: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision at every distinct threshold, strictest first."""
    true_positive, false_positive = _cumulative_counts(label, probability)
    called = true_positive + false_positive
    return true_positive[1:] / max(true_positive[-1], 1), true_positive[1:] / called[1:]


def roc_auc(label: Floats, probability: Floats) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half."""
    x, y = roc_curve(label, probability)
    return float(np.trapezoid(y, x))


def log_loss(label: Floats, probability: Floats) -> NDArray[np.float64]:
    """Cross-entropy of each row, -(y ln p + (1 - y) ln(1 - p)), p kept 1e-7 away from 0 and 1."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return -(label * np.log(p) + (1 - label) * np.log1p(-p))


def calibration_error(label: Floats, probability: Floats, bins: int = 15) -> float:
    """ECE: mean over rows of |share of positives - mean probability| of the row's bin, ``bins`` of equally many rows.

    Naeini et al. 2015, with bins of equal size.
    """
    order = np.argsort(probability, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    gaps = [len(p) * abs(float(label[p].mean()) - float(probability[p].mean())) for p in parts]
    return sum(gaps) / len(label)


def classification_metrics(
    label: Floats, probability: Floats, threshold: float, repeats: int = 500
) -> dict[str, Interval]:
    """Accuracy, precision, recall, F1, ROC AUC and ECE with 95 % bootstrap intervals over rows (seed 42)."""

    def figures(rows: NDArray[np.intp] | slice) -> list[float]:
        y = label[rows]
        p = probability[rows]
        found = confusion(y, p, threshold)
        return [found.accuracy, found.precision, found.recall, found.f1, roc_auc(y, p), calibration_error(y, p)]

    rng = np.random.default_rng(42)
    drawn = np.array([figures(rng.integers(0, len(label), len(label))) for _ in range(repeats)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    names = ("accuracy", "precision", "recall", "F1", "ROC AUC", "calibration error (15 bins)")
    points = figures(slice(None))
    return {n: Interval(p, float(a), float(b)) for n, p, a, b in zip(names, points, low, high, strict=True)}


def _cumulative_counts(label: Floats, probability: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.argsort(-probability, kind="stable")
    score = probability[order]
    true = label[order] > 0.5
    last_of_tie = np.append(score[1:] != score[:-1], True)
    positive = np.cumsum(true)[last_of_tie].astype(np.float64)
    negative = np.cumsum(~true)[last_of_tie].astype(np.float64)
    return np.insert(positive, 0, 0.0), np.insert(negative, 0, 0.0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
