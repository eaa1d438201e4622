"""Which of several classifiers answers, or the mean of which: decided on rows that none of them learnt from.

The mean of all is hard to beat, and validation rows are few: another set is taken only where it is shown to lose less.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.bootstrap import paired_difference
from vetrina.metrics.classification import log_loss

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class EnsembleChoice:
    """The names of a set, what their mean says (n,), and the mean loss of every set that was tried."""

    models: tuple[str, ...]
    predictions: NDArray[np.float32]
    losses: Mapping[tuple[str, ...], float]


def choose_ensemble(
    label: Floats,
    predictions: Mapping[str, Floats],
    standalone: Sequence[str] = (),
    row_loss: Callable[[Floats, Floats], NDArray[np.float64]] = log_loss,
) -> EnsembleChoice:
    """``said`` are expected labels (n,) by model; those of ``alone`` are tried by themselves only. ``lost`` says what each row
    loses.

    The set with the smallest mean loss if the paired bootstrap shows it better than the mean of all, else that mean.
    """
    several = [name for name in predictions if name not in standalone]
    sets = [names for n in range(1, len(several) + 1) for names in combinations(several, n)]
    sets += [(name,) for name in predictions if name in standalone]
    means = {names: np.stack([predictions[n] for n in names]).mean(axis=0).astype(np.float32) for names in sets}
    each = {names: row_loss(label, found) for names, found in means.items()}
    losses = {names: float(found.mean()) for names, found in each.items()}
    usual = tuple(several) or sets[0]
    best = min(losses, key=lambda names: losses[names])
    shown = best != usual and paired_difference(each[usual], each[best]).low > 0
    names = best if shown else usual
    return EnsembleChoice(names, means[names], losses)
