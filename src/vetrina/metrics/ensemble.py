"""Which of several classifiers answers, or the mean of which: decided on rows that none of them learnt from.

The mean of all is hard to beat, and validation rows are few: another set is taken only where it is shown to lose less.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vetrina.metrics.bootstrap import paired
from vetrina.metrics.classification import log_loss

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Chosen:
    """The names of a set, what their mean says (n,), and the mean loss of every set that was tried."""

    names: tuple[str, ...]
    said: NDArray[np.float32]
    losses: Mapping[tuple[str, ...], float]


def choose(
    label: Floats,
    said: Mapping[str, Floats],
    alone: Sequence[str] = (),
    lost: Callable[[Floats, Floats], NDArray[np.float64]] = log_loss,
) -> Chosen:
    """``said`` are expected labels (n,) by model; those of ``alone`` are tried by themselves only. ``lost`` says what each row
    loses.

    The set with the smallest mean loss if the paired bootstrap shows it better than the mean of all, else that mean.
    """
    several = [name for name in said if name not in alone]
    sets = [names for n in range(1, len(several) + 1) for names in combinations(several, n)]
    sets += [(name,) for name in said if name in alone]
    means = {names: np.stack([said[n] for n in names]).mean(axis=0).astype(np.float32) for names in sets}
    each = {names: lost(label, found) for names, found in means.items()}
    losses = {names: float(found.mean()) for names, found in each.items()}
    usual, best = tuple(several) or sets[0], min(losses, key=lambda names: losses[names])
    shown = best != usual and paired(each[usual], each[best]).low > 0
    names = best if shown else usual
    return Chosen(names, means[names], losses)
