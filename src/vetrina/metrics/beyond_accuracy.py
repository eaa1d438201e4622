"""Figures of the lists that are shown, which need no label.

coverage = share of the catalogue in any list; novelty = mean of -log2 of a product's share of events, add-one (Zhou et al. 2010);
diversity = mean share of pairs in a list that differ in their class; popularity bias = mean percentile, by events, of
what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BeyondAccuracyMetrics:
    """All between 0 and 1 but ``novelty``, which is in bits. NaN without a list."""

    coverage: float
    novelty: float
    diversity: float
    popularity_bias: float


def beyond_accuracy_metrics(
    lists: Sequence[NDArray[np.integer]], counts: NDArray[np.floating], classes: NDArray[np.integer]
) -> BeyondAccuracyMetrics:
    """``lists`` of item indices, ``counts`` (items,) of events, ``classes`` (items,) such as categories."""
    shown = np.concatenate([np.asarray(row, np.int64) for row in lists]) if lists else np.empty(0, np.int64)
    if not len(shown):
        return BeyondAccuracyMetrics(*(float("nan"),) * 4)
    share = (counts + 1.0) / (counts.sum() + len(counts))
    ordered = np.sort(counts)
    below, upto = (np.searchsorted(ordered, counts[shown], side=side) for side in ("left", "right"))
    differ = [_intra_list_diversity(classes[np.asarray(row)]) for row in lists if len(row) > 1]
    return BeyondAccuracyMetrics(
        coverage=len(np.unique(shown)) / len(counts),
        novelty=float(-np.log2(share[shown]).mean()),
        diversity=float(np.mean(differ)) if differ else float("nan"),
        popularity_bias=float(((below + upto) / 2 / len(counts)).mean()),
    )


def _intra_list_diversity(of: NDArray[np.integer]) -> float:
    """Share of pairs with two classes."""
    _, same = np.unique(of, return_counts=True)
    pairs = len(of) * (len(of) - 1)
    return 1.0 - float((same * (same - 1)).sum()) / pairs
