"""What the ranker sees of a candidate: the signals, where the query's words stand, what the shop knows of the product."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Floats
from vetrina.features.item_statistics import STATISTIC_NAMES as STATISTICS
from vetrina.retrieval.term_vectors import COLUMNS

_TOP_CANDIDATES = 50
_RANKED_SIGNALS = ("bm25", "text", "agreement", "blend")


def feature_names(signals: Sequence[str]) -> list[str]:
    """Of the columns, in their order."""
    ranks = (f"rank by {name}" for name in _RANKED_SIGNALS)
    among = ("price beside the best", "share of its category", "share of its brand")
    return [*signals, "blend", "bm25 as it is", *ranks, *COLUMNS, *STATISTICS, *among, "words asked"]


def ranker_features(
    signals: Floats,
    blend: Floats,
    bm25: Floats,
    match_features: Floats,
    statistics: Floats,
    codes: Sequence[NDArray[np.int32]],
    n_query_words: int,
) -> Floats:
    """(n, columns) float32 of the candidates of one query.

    ``signals`` (n, signals) begin with bm25, text, words and agreement; ``blend`` (n,) is their weighted sum; ``codes`` are each
    candidate's category and brand.
    """
    best = np.argsort(-blend, kind="stable")[:_TOP_CANDIDATES]
    price = statistics[:, STATISTICS.index("log price")]
    beside = price - np.median(price[best]) if len(best) else price
    ranked = np.stack([signals[:, 0], signals[:, 1], signals[:, 3], blend])
    ranks = np.log1p(np.argsort(np.argsort(-ranked, axis=1, kind="stable"), axis=1, kind="stable"))
    shares = [(code[:, None] == code[best][None]).mean(1) if len(best) else code for code in codes]
    columns = [
        signals.T,
        blend[None],
        bm25[None],
        ranks,
        match_features.T,
        statistics.T,
        beside[None],
        *(share[None] for share in shares),
        np.full((1, len(blend)), n_query_words),
    ]
    return np.ascontiguousarray(np.concatenate(columns).T, dtype=np.float32)
