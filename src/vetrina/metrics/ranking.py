"""Ranking figures over the full catalogue; ties get half the rank between best and worst.

DCG@k of a list is the sum of gain_i / log2(1 + rank_i); NDCG divides by that of the best list
(Jarvelin & Kekalainen 2002). Binary gain 1, or 2**grade - 1 for graded judgments (Burges et al. 2005).
"""

import numpy as np
from numpy.typing import NDArray


def mid_ranks(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> NDArray[np.float64]:
    """Rank from 1 of each target among all ``scores`` (items,); of t tied items each gets the middle rank."""
    values = scores[targets]
    ordered = np.sort(scores)
    above = len(scores) - np.searchsorted(ordered, values, side="right")
    equal = np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values, side="left")
    return above + 0.5 * (equal - 1) + 1.0


def ndcg(ranks: NDArray[np.float64], n_relevant: int, k: int = 10) -> float:
    """Binary NDCG@k. ``ranks`` (m,) of the targets that can be found, ``relevant`` >= m counts all of them."""
    if n_relevant == 0:
        return 0.0
    ideal = (1.0 / np.log2(1.0 + np.arange(1, min(k, n_relevant) + 1))).sum()
    return float((1.0 / np.log2(1.0 + ranks[ranks <= k])).sum() / ideal)


def recall(ranks: NDArray[np.float64], n_relevant: int, k: int = 20) -> float:
    """Share of all relevant items at rank k or better."""
    return float((ranks <= k).sum() / n_relevant) if n_relevant else 0.0


def reciprocal_rank(ranks: NDArray[np.float64], k: int = 20) -> float:
    """1 / best rank, 0 beyond k."""
    best = float(ranks.min(initial=np.inf))
    return 1.0 / best if best <= k else 0.0


def graded_ndcg(
    ranked: NDArray[np.integer], items: NDArray[np.integer], grades: NDArray[np.floating], k: int = 10
) -> float:
    """NDCG@k of a list of item indices (best first) with gain 2**grade - 1; items without a grade gain nothing."""
    gains = np.exp2(grades) - 1.0
    discount = 1.0 / np.log2(2.0 + np.arange(k))
    best = np.sort(gains)[::-1][:k]
    ideal = float((best * discount[: len(best)]).sum())
    if ideal == 0.0:
        return 0.0
    gain_of = dict(zip(items.tolist(), gains.tolist(), strict=True))
    found = np.array([gain_of.get(int(i), 0.0) for i in ranked[:k]])
    return float((found * discount[: len(found)]).sum() / ideal)
