"""LambdaMART (Burges 2010) by LightGBM. Training side only."""

from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats

LIGHTGBM_PARAMETERS = {
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
_MAX_TREES = 400
_PATIENCE = 40


@dataclass(frozen=True)
class RankingGroups:
    """Candidates of lists one after the other: ``features`` (n, width), ``gains`` (n,) whole numbers, ``sizes`` (lists,).

    With ``start`` (n,) trees learn what to add to these scores, else the whole order.
    """

    features: Floats
    gains: NDArray[np.int32]
    group_sizes: NDArray[np.int64]
    init_scores: Floats | None = None

    def take(self, groups: NDArray[np.intp]) -> "RankingGroups":
        """Some of the lists, in that order."""
        starts = np.cumsum(self.group_sizes) - self.group_sizes
        sizes = self.group_sizes[groups]
        before = np.cumsum(sizes) - sizes
        rows = np.repeat(starts[groups] - before, sizes) + np.arange(int(sizes.sum()))
        start = None if self.init_scores is None else self.init_scores[rows]
        return RankingGroups(self.features[rows], self.gains[rows], sizes, start)


@dataclass(frozen=True)
class FittedRanker:
    """The trees of all lists, and what trees of the other half say about every row (n,)."""

    trees: lightgbm.Booster
    out_of_fold_scores: Floats


def fit(groups: RankingGroups, truncation_level: int, seed: int, threads: int) -> FittedRanker:
    """As many trees as halves of the lists find best for each other; ``levels`` places of a list count."""
    settings = {
        **LIGHTGBM_PARAMETERS,
        "lambdarank_truncation_level": truncation_level,
        "seed": seed,
        "num_threads": threads,
    }
    settings |= {"metric": "ndcg", "eval_at": [truncation_level]}
    halves = np.array_split(np.random.default_rng(seed).permutation(len(groups.group_sizes)), 2)
    starts = np.cumsum(groups.group_sizes) - groups.group_sizes
    crossed = np.zeros(len(groups.features), np.float32)
    counts = []
    for own, other in (halves, halves[::-1]):
        learnt = groups.take(own)
        judged = groups.take(other)
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        found = lightgbm.train(
            settings, _lightgbm_dataset(learnt), _MAX_TREES, [_lightgbm_dataset(judged)], callbacks=[stop]
        )
        values = np.asarray(found.predict(judged.features), np.float32)
        at = 0
        for which in other:
            size = int(groups.group_sizes[which])
            crossed[starts[which] : starts[which] + size] = values[at : at + size]
            at += size
        counts.append(found.best_iteration)
    trees = lightgbm.train(settings, _lightgbm_dataset(groups), max(1, round(1.2 * float(np.mean(counts)))))
    return FittedRanker(trees, crossed)


def _lightgbm_dataset(lists: RankingGroups) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        lists.features, lists.gains, group=lists.group_sizes, init_score=lists.init_scores, free_raw_data=False
    )
