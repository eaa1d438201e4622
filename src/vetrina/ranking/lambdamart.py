"""LambdaMART ranker (Burges 2010) by LightGBM, with out-of-fold scores. Training side only."""

# pyright: reportUnknownMemberType=false
# LightGBM's functions have untyped parameters.

from dataclasses import dataclass
from typing import Any

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
_PATIENCE = 40  # trees without a gain after which training stops
_TREES_FACTOR = 1.2  # of the trees of a half, for twice as many rows


@dataclass(frozen=True)
class RankingGroups:
    """Candidates of ranked lists, one list after the other.

    Attributes:
        features: (n, width) features of each candidate.
        gains: (n,) gain of each candidate, a whole number.
        group_sizes: (lists,) number of candidates of each list.
        init_scores: (n,) scores to which the trees add; without them the trees rank alone.
    """

    features: Floats
    gains: NDArray[np.int32]
    group_sizes: NDArray[np.int64]
    init_scores: Floats | None = None

    def take(self, groups: NDArray[np.intp]) -> "RankingGroups":
        """Return some of the lists, in that order."""
        starts = np.cumsum(self.group_sizes) - self.group_sizes
        sizes = self.group_sizes[groups]
        new_starts = np.cumsum(sizes) - sizes
        rows = np.repeat(starts[groups] - new_starts, sizes) + np.arange(int(sizes.sum()))
        init_scores = None
        if self.init_scores is not None:
            init_scores = self.init_scores[rows]
        return RankingGroups(self.features[rows], self.gains[rows], sizes, init_scores)


@dataclass(frozen=True)
class FittedRanker:
    """Trees trained on all lists, and for every row (n,) the score by trees trained on the other half of the lists."""

    trees: lightgbm.Booster
    out_of_fold_scores: Floats


def fit(groups: RankingGroups, truncation_level: int, seed: int, threads: int) -> FittedRanker:
    """Return a ranker with as many trees as two halves of the lists need for each other.

    Args:
        groups: The training lists.
        truncation_level: Number of top positions that count (NDCG@k).
        seed: Seed of the halves and of LightGBM.
        threads: Number of threads.
    """
    parameters: dict[str, Any] = {
        **LIGHTGBM_PARAMETERS,
        "lambdarank_truncation_level": truncation_level,
        "seed": seed,
        "num_threads": threads,
        "metric": "ndcg",
        "eval_at": [truncation_level],
    }
    n_groups = len(groups.group_sizes)
    first, second = np.array_split(np.random.default_rng(seed).permutation(n_groups), 2)
    row_starts = np.cumsum(groups.group_sizes) - groups.group_sizes
    out_of_fold = np.zeros(len(groups.features), np.float32)
    tree_counts: list[int] = []
    for fit_half, held_out_half in ((first, second), (second, first)):
        held_out = groups.take(held_out_half)
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        trees = lightgbm.train(
            parameters,
            _lightgbm_dataset(groups.take(fit_half)),
            _MAX_TREES,
            [_lightgbm_dataset(held_out)],
            callbacks=[stop],
        )
        scores = np.asarray(trees.predict(held_out.features), np.float32)
        position = 0
        for group in held_out_half:
            start = row_starts[group]
            size = int(groups.group_sizes[group])
            out_of_fold[start : start + size] = scores[position : position + size]
            position += size
        tree_counts.append(trees.best_iteration)
    n_trees = max(1, round(_TREES_FACTOR * float(np.mean(tree_counts))))
    trees = lightgbm.train(parameters, _lightgbm_dataset(groups), n_trees)
    return FittedRanker(trees, out_of_fold)


def _lightgbm_dataset(groups: RankingGroups) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        groups.features,
        groups.gains,
        group=groups.group_sizes,
        init_score=groups.init_scores,
        free_raw_data=False,
    )
