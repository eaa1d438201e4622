"""Evaluation of search on graded query-product pairs: full retrieval, NDCG@10 with gain 2**grade - 1.

Products that are not judged for a query gain nothing.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vetrina.core.evaluation_data import EvaluationData, MetricValues
from vetrina.evaluation.ranking import graded_ndcg
from vetrina.scenarios.search.online import Searcher

_K = 10
_QUERY_WORDS = 3  # words of a title that are a sample query
SampleRequest = str | tuple[str, str]  # a query of an anonymous visitor, or a query and the user


def sample_requests(folder: Path, max_requests: int) -> list[str]:
    """Distinct sample queries: the first three words of product titles, evenly spread over the catalogue."""
    catalogue = Searcher(folder).catalogue
    step = max(1, -(-len(catalogue) // max_requests))
    queries = [_title_query(catalogue.title(item)) for item in range(0, len(catalogue), step)]
    return [query for query in dict.fromkeys(queries) if query]


def sample_unlabelled_requests(folder: Path, max_requests: int) -> list[SampleRequest]:
    """Requests of warm users, for which there are no judgments: each searches for the product of the last interaction."""
    searcher = Searcher(folder)
    histories = searcher.histories
    requests: list[SampleRequest] = []
    for user in histories.sample_users(max_requests):
        items = histories.history_of(user, (), histories.until).items
        query = _title_query(searcher.catalogue.title(int(items[-1]))) if len(items) else ""
        if query:
            requests.append((query, user))
    return requests


def _title_query(title: str) -> str:
    return " ".join(title.split()[:_QUERY_WORDS])


def answer_requests(folder: Path, requests: Sequence[SampleRequest]) -> list[dict[str, float]]:
    """The first ten product ids for each request, with their scores."""
    searcher = Searcher(folder)
    now = searcher.histories.until
    answers = []
    for request in requests:
        query, user = (request, None) if isinstance(request, str) else request
        items, scores = searcher.rank_with_scores(query, now, user)
        answer = {}
        for item, score in zip(items[:_K].tolist(), scores[:_K].tolist(), strict=True):
            answer[searcher.catalogue.product_id(item)] = score
        answers.append(answer)
    return answers


def evaluate(folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
    """NDCG@10 of each judged query with a relevant product, for an anonymous visitor.

    Args:
        folder: the bundle's folder.
        evaluation_data: its judgments are used.
        only_model: rank by this signal alone.
    """
    searcher = Searcher(folder)
    if only_model is not None:
        searcher.use_only_signal(only_model)
    judgments = {}
    if evaluation_data.judgments:
        judgments = evaluation_data.judgments.by_query()
    queries = []
    values = []
    for query, (judged_items, grades) in judgments.items():
        if not (grades > 0).any():
            continue
        ranking = searcher.rank(query, evaluation_data.now)
        queries.append(query)
        values.append(graded_ndcg(ranking, judged_items, grades, _K))
    is_one_word = np.array([len(query.split()) for query in queries]) == 1
    slices = {"one-word queries": is_one_word, "longer queries": ~is_one_word}
    return MetricValues("NDCG@10", tuple(queries), np.array(values), slices)
