"""Beyond-accuracy metrics of recommendation lists: coverage, novelty, diversity and popularity bias.

They need no labels:

- coverage: share of the catalogue that is in any list;
- novelty: mean of -log2 of a product's share of events, with add-one smoothing (Zhou et al. 2010);
- diversity: mean over lists of the share of item pairs whose classes differ;
- popularity bias: mean percentile, by number of events, of the listed items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BeyondAccuracyMetrics:
    """Metrics between 0 and 1, except ``novelty``, which is in bits. All are NaN without a list."""

    coverage: float
    novelty: float
    diversity: float
    popularity_bias: float


def beyond_accuracy_metrics(
    lists: Sequence[NDArray[np.integer]],
    counts: NDArray[np.floating],
    classes: NDArray[np.integer],
) -> BeyondAccuracyMetrics:
    """Return coverage, novelty, diversity and popularity bias of recommendation lists.

    Args:
        lists: Item indices of each list.
        counts: (items,) number of events of each item.
        classes: (items,) class of each item, such as its category.
    """
    impressions = np.empty(0, np.int64)
    if lists:
        impressions = np.concatenate([np.asarray(items, np.int64) for items in lists])
    if not len(impressions):
        undefined = float("nan")
        return BeyondAccuracyMetrics(undefined, undefined, undefined, undefined)
    n_items = len(counts)
    event_share = (counts + 1.0) / (counts.sum() + n_items)
    sorted_counts = np.sort(counts)
    n_below = np.searchsorted(sorted_counts, counts[impressions], side="left")
    n_up_to = np.searchsorted(sorted_counts, counts[impressions], side="right")
    percentiles = (n_below + n_up_to) / 2 / n_items
    diversities = [_intra_list_diversity(classes[np.asarray(items)]) for items in lists if len(items) > 1]
    diversity = float("nan")
    if diversities:
        diversity = float(np.mean(diversities))
    return BeyondAccuracyMetrics(
        coverage=len(np.unique(impressions)) / n_items,
        novelty=float(-np.log2(event_share[impressions]).mean()),
        diversity=diversity,
        popularity_bias=float(percentiles.mean()),
    )


def _intra_list_diversity(classes: NDArray[np.integer]) -> float:
    """Share of ordered pairs of a list's items whose classes differ."""
    _, class_sizes = np.unique(classes, return_counts=True)
    n_pairs = len(classes) * (len(classes) - 1)
    n_same_class = float((class_sizes * (class_sizes - 1)).sum())
    return 1.0 - n_same_class / n_pairs
