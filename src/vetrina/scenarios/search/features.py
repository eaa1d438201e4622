"""Ranker features of search candidates: signals, query match, product statistics.

Training and serving compute them with the same code.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.term_vectors.read import MATCH_FEATURES
from vetrina.core.types import Floats
from vetrina.features.item_statistics import STATISTIC_NAMES

_TOP_CANDIDATES = 50  # best candidates that a price, category or brand is compared with
_RANKED_SIGNALS = ("bm25", "text", "agreement", "blend")


def feature_names(signals: Sequence[str]) -> list[str]:
    """Names of the columns of ``ranker_features``, in their order."""
    ranks = [f"rank by {name}" for name in _RANKED_SIGNALS]
    comparisons = ("price beside the best", "share of its category", "share of its brand")
    return [*signals, "blend", "bm25 as it is", *ranks, *MATCH_FEATURES, *STATISTIC_NAMES, *comparisons, "words asked"]


def ranker_features(
    signals: Floats,
    blend: Floats,
    bm25: Floats,
    match_features: Floats,
    statistics: Floats,
    codes: Sequence[NDArray[np.int32]],
    n_query_words: int,
) -> Floats:
    """Features of the candidates of one query.

    Args:
        signals: (n, signals) that start with bm25, text, words and agreement.
        blend: (n,) weighted sum of the signals.
        bm25: (n,) BM25 scores, not normalised.
        match_features: (n, columns of ``bundle.term_vectors``).
        statistics: (n, item statistics).
        codes: the category (n,) and the brand (n,) of each candidate.
        n_query_words: number of words of the query.

    Returns:
        (n, columns) float32, see ``feature_names``.
    """
    best = np.argsort(-blend, kind="stable")[:_TOP_CANDIDATES]
    log_price = statistics[:, STATISTIC_NAMES.index("log price")]
    price_difference = log_price
    if len(best):
        price_difference = log_price - np.median(log_price[best])
    ranked_signals = np.stack([signals[:, 0], signals[:, 1], signals[:, 3], blend])
    order = np.argsort(-ranked_signals, axis=1, kind="stable")
    log_ranks = np.log1p(np.argsort(order, axis=1, kind="stable"))
    shares = []
    for code in codes:
        share = (code[:, None] == code[best][None]).mean(1) if len(best) else code
        shares.append(share[None])
    columns = [
        signals.T,
        blend[None],
        bm25[None],
        log_ranks,
        match_features.T,
        statistics.T,
        price_difference[None],
        *shares,
        np.full((1, len(blend)), n_query_words),
    ]
    return np.ascontiguousarray(np.concatenate(columns).T, dtype=np.float32)
