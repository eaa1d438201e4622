"""Weights of a mean of several models' predictions, from predictions of rows that the models were not trained on.

Ensemble selection with replacement (Caruana, Niculescu-Mizil, Crew and Ksikes 2004) beside the plain mean, which is hard to beat
where models are about equally good. No training library is imported here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.evaluation.classification import log_loss

Floats = NDArray[np.floating]
RowLoss = Callable[[Floats, Floats], NDArray[np.float64]]
MEAN = "mean"  # names of the two ensembles among the losses
WEIGHTED_MEAN = "weighted mean"

_N_ROUNDS = 20  # models that are added, so that weights are multiples of at least a twentieth
_N_FOLDS = 5  # of the rows, to estimate the loss of weights on rows that they were not chosen on


@dataclass(frozen=True)
class WeightedEnsemble:
    """Chosen weights of all models, the predictions (n,) that they give, and the mean loss of what was compared.

    ``losses`` has each model by its name, ``MEAN``, and ``WEIGHTED_MEAN`` with weights that were chosen on other rows.
    """

    weights: Mapping[str, float]
    predictions: NDArray[np.float32]
    losses: Mapping[str, float]


def choose_weights(
    label: Floats,
    predictions: Mapping[str, Floats],
    standalone: Sequence[str] = (),
    row_loss: RowLoss = log_loss,
    seed: int = 42,
) -> WeightedEnsemble:
    """The single model, plain mean or weighted mean with the smallest loss, that of the weighted mean on other rows.

    Of equals the simplest: a model before the mean, the mean before the weighted mean.

    Args:
        label: (n,) labels.
        predictions: Predictions (n,) by model, of rows that the models were not trained on.
        standalone: Models that may win alone, but are never averaged with others.
        row_loss: Returns the loss (n,) of each row for labels and predictions.
        seed: Seed of the folds of the rows.
    """
    losses = {name: float(row_loss(label, values).mean()) for name, values in predictions.items()}
    averageable = {name: values for name, values in predictions.items() if name not in standalone}
    equal_weights = {name: 1.0 / len(averageable) for name in averageable}
    if len(averageable) > 1:
        losses[MEAN] = float(row_loss(label, weighted_mean(averageable, equal_weights)).mean())
        losses[WEIGHTED_MEAN] = _cross_fitted_loss(label, averageable, row_loss, seed)
    best = min(losses, key=lambda name: losses[name])
    if best == WEIGHTED_MEAN:
        weights = select_greedily(label, averageable, row_loss)
    elif best == MEAN:
        weights = equal_weights
    else:
        weights = {best: 1.0}
    all_weights = {name: weights.get(name, 0.0) for name in predictions}
    return WeightedEnsemble(all_weights, weighted_mean(predictions, all_weights), losses)


def select_greedily(label: Floats, predictions: Mapping[str, Floats], row_loss: RowLoss = log_loss) -> dict[str, float]:
    """Weights by greedy ensemble selection with replacement: each round adds the model after which the loss is smallest.

    The round with the smallest loss counts, the earliest of equals.

    Args:
        label: (n,) labels.
        predictions: Predictions (n,) by model.
        row_loss: Returns the loss (n,) of each row for labels and predictions.

    Returns:
        Weights of at least 0 with sum 1, by model.
    """
    total = np.zeros(len(label))
    chosen: list[str] = []
    losses: list[float] = []
    for size in range(1, _N_ROUNDS + 1):
        candidates: dict[str, float] = {}
        for name, values in predictions.items():
            candidates[name] = float(row_loss(label, (total + values) / size).mean())
        best = min(candidates, key=lambda name: candidates[name])
        total += predictions[best]
        chosen.append(best)
        losses.append(candidates[best])
    best_models = chosen[: 1 + int(np.argmin(losses))]
    return {name: best_models.count(name) / len(best_models) for name in predictions}


def weighted_mean(predictions: Mapping[str, Floats], weights: Mapping[str, float]) -> NDArray[np.float32]:
    """(rows,) weighted mean of predictions (rows,) by model; the weights need not sum to 1."""
    total_weight = sum(weights[name] for name in predictions)
    total = sum(weights[name] * values.astype(np.float64) for name, values in predictions.items())
    return np.asarray(total / total_weight).astype(np.float32)


def _cross_fitted_loss(label: Floats, predictions: Mapping[str, Floats], row_loss: RowLoss, seed: int) -> float:
    """Mean loss of weighted means whose weights were chosen on the rows of the other folds."""
    fold_of_row = np.random.default_rng(seed).permutation(len(label)) % _N_FOLDS
    losses = np.zeros(len(label))
    for fold in range(_N_FOLDS):
        inside = fold_of_row == fold
        if not inside.any():
            continue
        outside_predictions = {name: values[~inside] for name, values in predictions.items()}
        inside_predictions = {name: values[inside] for name, values in predictions.items()}
        weights = select_greedily(label[~inside], outside_predictions, row_loss)
        losses[inside] = row_loss(label[inside], weighted_mean(inside_predictions, weights))
    return float(losses.mean())
