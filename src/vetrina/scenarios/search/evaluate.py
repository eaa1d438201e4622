"""Judges search on graded pairs: full retrieval, NDCG@10 with gain 2**grade - 1, unjudged products gain nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vetrina.core.types import EvaluationData, MetricValues
from vetrina.metrics.ranking import graded_ndcg
from vetrina.scenarios.search.online import N_NON_PERSONAL_SIGNALS, SIGNALS, Searcher

_K = 10
SampleRequest = str | tuple[str, str]  # a query, or one and who asks


def sample_requests(folder: Path, max_requests: int) -> list[str]:
    """The first three words of products' titles, evenly spread over the catalogue."""
    shelf = Searcher(folder).catalogue
    titles = (shelf.title(i).split()[:3] for i in range(0, len(shelf), max(1, -(-len(shelf) // max_requests))))
    return [" ".join(words) for words in titles if words]


def sample_unlabelled_requests(folder: Path, max_requests: int) -> list[SampleRequest]:
    """What no judged query stands for: shoppers who are known, each asking for what they took last by its first three words."""
    opened = Searcher(folder)
    histories = opened.histories
    now = opened.histories.until
    last = [(user, histories.history_of(user, (), now).items[-1:]) for user in histories.sample_users(max_requests)]
    asked = ((" ".join(opened.catalogue.title(int(items[0])).split()[:3]), user) for user, items in last if len(items))
    return [(query, user) for query, user in asked if query]


def answer_requests(folder: Path, requests: Sequence[SampleRequest]) -> list[dict[str, float]]:
    """The first ten product ids for each query, for a shopper nobody knows where none is named, with their scores."""
    opened = Searcher(folder)
    now = opened.histories.until
    named = ((one, None) if isinstance(one, str) else one for one in requests)
    found = (opened.rank_with_scores(query, now, user) for query, user in named)
    return [
        {opened.catalogue.product_id(i): s for i, s in zip(items[:_K].tolist(), scores[:_K].tolist(), strict=True)}
        for items, scores in found
    ]


def contributing_models(folder: Path, evaluation_data: EvaluationData | None) -> tuple[set[str], set[str]]:
    """Models that say something of what ``evaluate`` and ``requests`` ask, for a shopper nobody knows, and ``unjudged``."""
    return set(SIGNALS[:N_NON_PERSONAL_SIGNALS]), set(SIGNALS)


def evaluate(folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
    """NDCG@10 of each judged query with a relevant product, for a shopper nobody knows."""
    opened = Searcher(folder)
    if only_model is not None:
        opened.use_only_signal(only_model)
    names = []
    values = []
    lengths = []
    for query, (judged, grades) in (evaluation_data.judgments.by_query() if evaluation_data.judgments else {}).items():
        if not (grades > 0).any():
            continue
        names.append(query)
        lengths.append(len(query.split()))
        values.append(graded_ndcg(opened.rank(query, evaluation_data.now), judged, grades, _K))
    single = np.array(lengths) == 1
    return MetricValues(
        "NDCG@10", tuple(names), np.array(values), {"one-word queries": single, "longer queries": ~single}
    )
