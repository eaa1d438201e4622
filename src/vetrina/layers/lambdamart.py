"""LambdaMART (Burges 2010) by LightGBM. Training side only."""

from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats

SETTINGS = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 127,
    "verbose": -1,
    "deterministic": True,
    "force_col_wise": True,
}
_MOST_TREES, _PATIENCE = 400, 40


@dataclass(frozen=True)
class Lists:
    """Candidates of lists one after the other: ``features`` (n, width), ``gains`` (n,) whole numbers, ``sizes`` (lists,).

    With ``start`` (n,) trees learn what to add to these scores, else the whole order.
    """

    features: Floats
    gains: NDArray[np.int32]
    sizes: NDArray[np.int64]
    start: Floats | None = None

    def take(self, lists: NDArray[np.intp]) -> "Lists":
        """Some of the lists, in that order."""
        starts = np.cumsum(self.sizes) - self.sizes
        sizes = self.sizes[lists]
        before = np.cumsum(sizes) - sizes
        rows = np.repeat(starts[lists] - before, sizes) + np.arange(int(sizes.sum()))
        start = None if self.start is None else self.start[rows]
        return Lists(self.features[rows], self.gains[rows], sizes, start)


@dataclass(frozen=True)
class Learnt:
    """The trees of all lists, and what trees of the other half say about every row (n,)."""

    trees: lightgbm.Booster
    crossed: Floats


def fit(lists: Lists, levels: int, seed: int, threads: int) -> Learnt:
    """As many trees as halves of the lists find best for each other; ``levels`` places of a list count."""
    settings = {**SETTINGS, "lambdarank_truncation_level": levels, "seed": seed, "num_threads": threads}
    settings |= {"metric": "ndcg", "eval_at": [levels]}
    halves = np.array_split(np.random.default_rng(seed).permutation(len(lists.sizes)), 2)
    starts = np.cumsum(lists.sizes) - lists.sizes
    crossed, counts = np.zeros(len(lists.features), np.float32), []
    for own, other in (halves, halves[::-1]):
        learnt, judged = lists.take(own), lists.take(other)
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        found = lightgbm.train(settings, _set(learnt), _MOST_TREES, [_set(judged)], callbacks=[stop])
        values, at = np.asarray(found.predict(judged.features), np.float32), 0
        for which in other:
            size = int(lists.sizes[which])
            crossed[starts[which] : starts[which] + size] = values[at : at + size]
            at += size
        counts.append(found.best_iteration)
    trees = lightgbm.train(settings, _set(lists), max(1, round(1.2 * float(np.mean(counts)))))
    return Learnt(trees, crossed)


def _set(lists: Lists) -> lightgbm.Dataset:
    return lightgbm.Dataset(lists.features, lists.gains, group=lists.sizes, init_score=lists.start, free_raw_data=False)
