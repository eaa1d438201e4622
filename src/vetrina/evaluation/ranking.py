"""Ranking metrics over the full catalogue: NDCG, recall and reciprocal rank, ties at their average rank.

DCG@k of a list is the sum of gain_i / log2(1 + rank_i) over its first k items; NDCG divides it by the DCG of the best list
(Jarvelin & Kekalainen 2002). The gain is 1 for binary relevance, or 2**grade - 1 for graded judgments (Burges et al. 2005).
"""

import numpy as np
from numpy.typing import NDArray


def mid_ranks(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the rank from 1 (m,) of each target among all items; tied items share their average rank.

    Args:
        scores: (items,) score of every item.
        targets: (m,) indices of the items whose ranks are returned.
    """
    target_scores = scores[targets]
    sorted_scores = np.sort(scores)
    n_up_to = np.searchsorted(sorted_scores, target_scores, side="right")
    n_below = np.searchsorted(sorted_scores, target_scores, side="left")
    n_above = len(scores) - n_up_to
    n_tied = n_up_to - n_below
    return n_above + 0.5 * (n_tied - 1) + 1.0


def ndcg(ranks: NDArray[np.float64], n_relevant: int, k: int = 10) -> float:
    """Return binary NDCG@k, 0 without a relevant item.

    Args:
        ranks: (m,) ranks from 1 of the relevant items that are ranked.
        n_relevant: Number of all relevant items, at least m.
        k: Length of the list.
    """
    if n_relevant == 0:
        return 0.0
    ideal_ranks = np.arange(1, min(k, n_relevant) + 1)
    ideal_dcg = (1.0 / np.log2(1.0 + ideal_ranks)).sum()
    ranks_in_list = ranks[ranks <= k]
    dcg = (1.0 / np.log2(1.0 + ranks_in_list)).sum()
    return float(dcg / ideal_dcg)


def recall(ranks: NDArray[np.float64], n_relevant: int, k: int = 20) -> float:
    """Return the share of all relevant items at rank k or better, 0 without a relevant item.

    Args:
        ranks: (m,) ranks from 1 of the relevant items that are ranked.
        n_relevant: Number of all relevant items, at least m.
        k: Length of the list.
    """
    if not n_relevant:
        return 0.0
    n_in_list = (ranks <= k).sum()
    return float(n_in_list / n_relevant)


def reciprocal_rank(ranks: NDArray[np.float64], k: int = 20) -> float:
    """Return 1 / best rank of the relevant items' ``ranks`` (m,), 0 if it is beyond k."""
    best_rank = float(ranks.min(initial=np.inf))
    if best_rank <= k:
        return 1.0 / best_rank
    return 0.0


def graded_ndcg(
    ranked: NDArray[np.integer],
    items: NDArray[np.integer],
    grades: NDArray[np.floating],
    k: int = 10,
) -> float:
    """Return NDCG@k with gain 2**grade - 1, 0 if no item has a grade above 0.

    Args:
        ranked: Item indices of the list, best first.
        items: (m,) indices of the judged items; all other items have no gain.
        grades: (m,) their grades.
        k: Length of the list.
    """
    gains = np.exp2(grades) - 1.0
    discount = 1.0 / np.log2(2.0 + np.arange(k))
    ideal_gains = np.sort(gains)[::-1][:k]
    ideal_dcg = float((ideal_gains * discount[: len(ideal_gains)]).sum())
    if ideal_dcg == 0.0:
        return 0.0
    gain_of_item = dict(zip(items.tolist(), gains.tolist(), strict=True))
    list_gains = np.array([gain_of_item.get(int(item), 0.0) for item in ranked[:k]])
    dcg = (list_gains * discount[: len(list_gains)]).sum()
    return float(dcg / ideal_dcg)
