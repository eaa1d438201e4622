"""Judges search on graded pairs: full retrieval, NDCG@10 with gain 2**grade - 1, unjudged products gain nothing."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Evidence, Scores
from vetrina.metrics.ranking import graded_ndcg
from vetrina.scenarios.search.online import IMPERSONAL, SIGNALS, Search

_K = 10


def requests(folder: Path, most: int) -> list[str]:
    """The first three words of products' titles, evenly spread over the catalogue."""
    shelf = Search(folder).shelf
    titles = (shelf.title(i).split()[:3] for i in range(0, len(shelf), max(1, -(-len(shelf) // most))))
    return [" ".join(words) for words in titles if words]


def answers(folder: Path, asked: list[str]) -> list[dict[str, float]]:
    """The first ten product ids for each query, for a shopper nobody knows, with their scores."""
    opened = Search(folder)
    now = opened.histories.until
    found = (opened.scored(query, now) for query in asked)
    return [
        {opened.shelf.id(i): s for i, s in zip(items[:_K].tolist(), scores[:_K].tolist(), strict=True)}
        for items, scores in found
    ]


def asked_models(folder: Path) -> tuple[set[str], set[str]]:
    """Models that say something of what ``evaluate`` and ``requests`` ask: of a shopper nobody knows; nothing else is asked."""
    return set(SIGNALS[:IMPERSONAL]), set()


def evaluate(folder: Path, evidence: Evidence, *, only: str | None = None) -> Scores:
    """NDCG@10 of each judged query with a relevant product, for a shopper nobody knows."""
    opened = Search(folder)
    if only is not None:
        opened.weigh(only)
    names, values, lengths = [], [], []
    for query, (judged, grades) in (evidence.judgments.by_query() if evidence.judgments else {}).items():
        if not (grades > 0).any():
            continue
        names.append(query)
        lengths.append(len(query.split()))
        values.append(graded_ndcg(opened.ranked(query, evidence.now), judged, grades, _K))
    single = np.array(lengths) == 1
    return Scores("NDCG@10", tuple(names), np.array(values), {"one-word queries": single, "longer queries": ~single})
