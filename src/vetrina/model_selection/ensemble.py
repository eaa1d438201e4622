"""Choice of the classifiers whose predictions are averaged, on validation rows.

The mean of all models is hard to beat, and validation rows are few: another set is chosen only if its loss is significantly
lower.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.classification import log_loss

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class EnsembleChoice:
    """The chosen models, their mean predictions (n,), and the mean loss of every set of models that was tried."""

    models: tuple[str, ...]
    predictions: NDArray[np.float32]
    losses: Mapping[tuple[str, ...], float]


def choose_ensemble(label: Floats, predictions: Mapping[str, Floats]) -> EnsembleChoice:
    """Return the set of models with the smallest mean log loss if it is significantly better than the mean of all models.

    Otherwise the mean of all models.

    Args:
        label: (n,) labels of the validation rows.
        predictions: Expected labels (n,) by model.
    """
    model_sets: list[tuple[str, ...]] = []
    for size in range(1, len(predictions) + 1):
        model_sets.extend(combinations(predictions, size))
    means = {models: _mean_prediction(predictions, models) for models in model_sets}
    row_losses = {models: log_loss(label, mean) for models, mean in means.items()}
    losses = {models: float(values.mean()) for models, values in row_losses.items()}
    default = tuple(predictions)
    best = min(losses, key=lambda models: losses[models])
    chosen = default
    if best != default and paired_difference(row_losses[default], row_losses[best]).low > 0:
        chosen = best
    return EnsembleChoice(chosen, means[chosen], losses)


def _mean_prediction(predictions: Mapping[str, Floats], models: tuple[str, ...]) -> NDArray[np.float32]:
    return np.stack([predictions[name] for name in models]).mean(axis=0).astype(np.float32)
