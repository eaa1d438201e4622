"""Evaluation of recommend on each user's next purchases, ranked over the full catalogue."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.errors import BadInput
from vetrina.core.protocols import History
from vetrina.core.types import EvaluationData, MetricValues
from vetrina.evaluation.beyond_accuracy import BeyondAccuracyMetrics, beyond_accuracy_metrics
from vetrina.evaluation.ranking import mid_ranks, ndcg, recall, reciprocal_rank
from vetrina.features.business_value import GOALS, reweight_scores, score_factors
from vetrina.scenarios.base import GoalEffect
from vetrina.scenarios.recommend.evaluation_units import user_units
from vetrina.scenarios.recommend.online import PLACEMENTS, Recommender, top_k

METRICS = {"NDCG": ndcg, "Recall": recall, "MRR": lambda ranks, relevant, k: reciprocal_rank(ranks, k)}
FURTHER_METRICS = ("Recall@10", "Recall@20", "MRR@20")  # of the report
K = 10  # products of an answer to a sample request
MAX_USERS = 4_000
_MAX_LISTS = 500  # rankings for metrics beyond accuracy
_MAX_GOAL_USERS = 1_000
_GOAL_POSITIONS = 10  # whose business value is measured
_UNLABELLED_PLACEMENTS = ("product", "cart")  # of anonymous sample requests, in turn
# A user or None, and the time; for a placement other than "home" also the product of the page, and the placement.
SampleRequest = tuple[str | None, float] | tuple[str | None, float, str, str]


def evaluate(
    folder: Path,
    evaluation_data: EvaluationData,
    *,
    only_model: str | None = None,
    metric: str = "NDCG@10",
    new_items_only: bool = False,
    allowed_items: np.ndarray | None = None,
    goals: Mapping[str, float] | None = None,
    max_units: int = MAX_USERS,
) -> MetricValues:
    """One value of the metric per user, with slices for returning and new users.

    Targets outside the catalogue count as missed.

    Args:
        folder: the bundle's folder.
        evaluation_data: its targets and events are used.
        only_model: rank by this model alone, without trees.
        metric: name@k, the name from ``METRICS``.
        new_items_only: only items that are new to the user are targets and candidates.
        allowed_items: (items,) bool, further restricts the candidates.
        goals: business goals of the shop that re-rank the items.
        max_units: at most so many users, evenly spread.
    """
    metric_name, k = metric.split("@")
    metric_function = METRICS[metric_name]
    recommender = Recommender(folder)
    if only_model is not None:
        recommender.weights = {blend: {only_model: 1.0} for blend in recommender.weights}
        recommender.disable_trees()
    goal_factors = score_factors(recommender.business_values, goals or {})
    placement_blend = "discover" if new_items_only else "home"
    names = []
    values = []
    is_known = []
    units = user_units(recommender.histories, evaluation_data, new_items_only=new_items_only, max_users=max_units)
    for unit in units:
        blend = recommender.select_blend(unit.name, unit.history, placement_blend)
        candidates = recommender.allowed_items(blend, unit.history, exclude_seen=new_items_only)
        if allowed_items is not None:
            candidates &= allowed_items
        scores, _ = recommender.ranking_scores(unit.history, blend, candidates)
        scores = reweight_scores(scores, goal_factors)
        ranks = mid_ranks(scores, unit.items)
        ranks = ranks[np.isfinite(scores[unit.items])]
        names.append(unit.name)
        is_known.append(unit.is_known)
        values.append(metric_function(ranks, unit.n_relevant, int(k)))
    is_returning = np.array(is_known, bool)
    slices = {"returning users": is_returning, "new users": ~is_returning}
    return MetricValues(metric, tuple(names), np.array(values), slices)


def list_metrics(folder: Path) -> BeyondAccuracyMetrics | None:
    """Metrics of whole rankings: coverage, diversity, popularity. None where every ranking is empty."""
    recommender = Recommender(folder)
    ranked_items = []
    for answer in answer_requests(folder, sample_requests(folder, _MAX_LISTS)):
        ranked_items.append(recommender.catalogue.index_of(list(answer)))
    if not any(len(items) for items in ranked_items):
        return None
    _, category_codes = recommender.catalogue.field_codes("category")
    return beyond_accuracy_metrics(ranked_items, recommender.item_counts, np.asarray(category_codes))


def evaluate_goals(folder: Path, evaluation_data: EvaluationData, goals: Mapping[str, float], goal: str) -> GoalEffect:
    """Relevance under business goals, and the mean business value of the first positions over users known to the bundle.

    Args:
        folder: the bundle's folder.
        evaluation_data: its targets and events are used.
        goals: weights of all goals.
        goal: goal whose business value is measured.

    Raises:
        BadInput: no product's value is known for the goal.
    """
    recommender = Recommender(folder)
    if score_factors(recommender.business_values, {goal: 1.0}) is None:
        way_out = "ingest products with a price"
        if goal == "margin":
            way_out += " and a cost"
        raise BadInput(f"goal {goal!r}", "cannot be judged", way_out)
    relevance = evaluate(folder, evaluation_data, goals=goals, max_units=_MAX_GOAL_USERS)
    return GoalEffect(relevance, _mean_business_value(recommender, goal, goals))


def _mean_business_value(recommender: Recommender, goal: str, goals: Mapping[str, float]) -> float:
    """Mean business value of the first positions over users known to the bundle; NaN without any."""
    values = recommender.business_values[:, GOALS.index(goal)]
    factors = score_factors(recommender.business_values, goals)
    shown_values = []
    for user in recommender.histories.sample_users(_MAX_GOAL_USERS):
        history = recommender.histories.history_of(user, (), recommender.histories.until)
        allowed_items = recommender.allowed_items("home", history)
        scores, _ = recommender.ranking_scores(history, "home", allowed_items)
        reweighted = reweight_scores(scores, factors)
        first_positions = np.argsort(-reweighted, kind="stable")[:_GOAL_POSITIONS]
        shown_values.append(np.asarray(values[first_positions], np.float64))
    if not shown_values:
        return float("nan")
    return float(np.nanmean(np.concatenate(shown_values)))


def sample_requests(folder: Path, max_requests: int) -> list[SampleRequest]:
    """An anonymous visitor and users of the bundle, each with the time at which the bundle's history ends."""
    histories = Recommender(folder).histories
    return [(user, histories.until) for user in (None, *histories.sample_users(max_requests))]


def sample_unlabelled_requests(folder: Path, max_requests: int) -> list[SampleRequest]:
    """Requests for which held-out users are no labels.

    Two thirds are anonymous visitors on the page of a product or with it in the cart, evenly from the most to the least popular
    product; one third are users of the bundle in the placement "discover".
    """
    recommender = Recommender(folder)
    now = recommender.histories.until
    third = -(-max_requests // 3)
    requests: list[SampleRequest] = []
    for index, item in enumerate(_items_by_popularity(recommender, 2 * third)):
        placement = _UNLABELLED_PLACEMENTS[index % 2]
        requests.append((None, now, recommender.catalogue.product_id(item), placement))
    for user in recommender.histories.sample_users(third):
        requests.append((user, now, "", "discover"))
    return requests


def _items_by_popularity(recommender: Recommender, max_items: int) -> np.ndarray:
    """Items with events, from the most to the least popular, evenly spread."""
    counts = recommender.item_counts
    items = top_k(np.where(counts >= 1, counts, -np.inf), len(recommender.catalogue))
    if not len(items):
        return items
    return items[np.linspace(0, len(items) - 1, min(max_items, len(items)), dtype=np.intp)]


def answer_requests(folder: Path, requests: Sequence[SampleRequest]) -> list[dict[str, float]]:
    """The first ten product ids for each request, with their scores."""
    recommender = Recommender(folder)
    return [answer_request(recommender, request) for request in requests]


def answer_request(recommender: Recommender, request: SampleRequest) -> dict[str, float]:
    """The first ten product ids for a request, with their scores."""
    history, blend, allowed = read_request(recommender, request)
    scores, _ = recommender.ranking_scores(history, blend, allowed)
    best = top_k(scores, K)
    return {recommender.catalogue.product_id(item): float(scores[item]) for item in best}


def read_request(recommender: Recommender, request: SampleRequest) -> tuple[History, str, NDArray[np.bool_]]:
    """The user's interactions, the blend and the allowed items (items,) bool of a sample request."""
    user, now, *page_and_placement = request
    product_id, placement = page_and_placement or ("", "home")
    history = recommender.histories.history_of(user, (), now)
    if product_id:
        history = recommender.page_history([product_id], now)
    blend, exclude_seen = PLACEMENTS[placement]
    if blend != "home":
        blend = recommender.select_blend(user, history, blend)
    allowed = recommender.allowed_items(blend, history, exclude_seen=bool(exclude_seen))
    return history, blend, allowed
