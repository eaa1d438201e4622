"""Judges search on graded pairs: full retrieval, NDCG@10 with gain 2**grade - 1, unjudged products gain nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vetrina.core.types import Evidence, Scores
from vetrina.metrics.ranking import graded_ndcg
from vetrina.scenarios.search.online import IMPERSONAL, SIGNALS, Search

_K = 10
Asked = str | tuple[str, str]  # a query, or one and who asks


def requests(folder: Path, most: int) -> list[str]:
    """The first three words of products' titles, evenly spread over the catalogue."""
    shelf = Search(folder).shelf
    titles = (shelf.title(i).split()[:3] for i in range(0, len(shelf), max(1, -(-len(shelf) // most))))
    return [" ".join(words) for words in titles if words]


def unjudged(folder: Path, most: int) -> list[Asked]:
    """What no judged query stands for: shoppers who are known, each asking for what they took last by its first three words."""
    opened = Search(folder)
    histories, now = opened.histories, opened.histories.until
    last = [(user, histories.of(user, (), now).items[-1:]) for user in histories.users(most)]
    asked = ((" ".join(opened.shelf.title(int(items[0])).split()[:3]), user) for user, items in last if len(items))
    return [(query, user) for query, user in asked if query]


def answers(folder: Path, asked: Sequence[Asked]) -> list[dict[str, float]]:
    """The first ten product ids for each query, for a shopper nobody knows where none is named, with their scores."""
    opened = Search(folder)
    now = opened.histories.until
    named = ((one, None) if isinstance(one, str) else one for one in asked)
    found = (opened.scored(query, now, user) for query, user in named)
    return [
        {opened.shelf.id(i): s for i, s in zip(items[:_K].tolist(), scores[:_K].tolist(), strict=True)}
        for items, scores in found
    ]


def asked_models(folder: Path, evidence: Evidence | None) -> tuple[set[str], set[str]]:
    """Models that say something of what ``evaluate`` and ``requests`` ask, for a shopper nobody knows, and ``unjudged``."""
    return set(SIGNALS[:IMPERSONAL]), set(SIGNALS)


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
