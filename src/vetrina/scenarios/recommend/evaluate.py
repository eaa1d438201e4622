"""Judges recommend on what users really took next, over the full catalogue."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vetrina.core.types import EvaluationData, MetricValues
from vetrina.metrics.quality_loss import MAX_POINT_LOSS
from vetrina.metrics.ranking import mid_ranks, ndcg, recall, reciprocal_rank
from vetrina.retrieval.business_value import reweight_scores, score_factors
from vetrina.scenarios.recommend.evaluation_units import user_units
from vetrina.scenarios.recommend.online import PLACEMENTS, Recommender, top_k

METRICS = {"NDCG": ndcg, "Recall": recall, "MRR": lambda ranks, relevant, k: reciprocal_rank(ranks, k)}
_K = 10
# blends that are asked
_ANONYMOUS_BLENDS = ("session", "unseen")
_UNLABELLED_BLENDS = ("session", "discover", "unseen")
# A user or nobody and when; elsewhere than at home the product of the page, and the placement.
SampleRequest = tuple[str | None, float] | tuple[str | None, float, str, str]
_MAX_USERS = 4_000


def evaluate(
    folder: Path,
    evaluation_data: EvaluationData,
    *,
    only_model: str | None = None,
    metric: str = "NDCG@10",
    new_items_only: bool = False,
    allowed_items: np.ndarray | None = None,
    goals: Mapping[str, float] | None = None,
    max_units: int = _MAX_USERS,
) -> MetricValues:
    """The ``metric`` (name@k of ``METRICS``) of each of ``most`` users; ``only`` one model, ``new_only`` what is new to them.

    Targets outside the catalogue count as missed. ``allowed`` (items,) bool narrows what is ranked, ``goals`` of the shop bend
    the order.
    Slices: users known to the bundle or not.
    """
    figure = METRICS[metric.split("@")[0]]
    k = int(metric.split("@")[1])
    opened = Recommender(folder)
    if only_model is not None:
        opened.weights = {blend: {only_model: 1.0} for blend in opened.weights}
        opened.disable_trees()
    names = []
    values = []
    known = []
    lifted = score_factors(opened.business_values, goals or {})
    for unit in user_units(opened.histories, evaluation_data, new_items_only=new_items_only, max_users=max_units):
        name = opened.select_blend(unit.name, unit.history, "discover" if new_items_only else "home")
        mask = opened.allowed_items(name, unit.history, exclude_seen=new_items_only)
        if allowed_items is not None:
            mask &= allowed_items
        scores, _ = opened.ranking_scores(unit.history, name, mask)
        scores = reweight_scores(scores, lifted)
        ranks = mid_ranks(scores, unit.items)
        ranks = ranks[np.isfinite(scores[unit.items])]
        names.append(unit.name)
        known.append(unit.is_known)
        values.append(figure(ranks, unit.n_relevant, k))
    flags = np.array(known, bool)
    slices = {"returning users": flags, "new users": ~flags}
    return MetricValues(metric, tuple(names), np.array(values), slices)


def sample_requests(folder: Path, max_requests: int) -> list[SampleRequest]:
    """Users whom this folder knows, and nobody, each at the moment where its past ends."""
    histories = Recommender(folder).histories
    return [(name, histories.until) for name in (None, *histories.sample_users(max_requests))]


def sample_unlabelled_requests(folder: Path, max_requests: int) -> list[SampleRequest]:
    """What no held-out user stands for: somebody unknown on the page of a product or with it in the cart, evenly from the most to
    the least taken, and known users who want to discover something.
    """
    opened = Recommender(folder)
    third = -(-max_requests // 3)
    now = opened.histories.until
    taken = top_k(np.where(opened.item_counts >= 1, opened.item_counts, -np.inf), len(opened.catalogue))
    some = taken[np.linspace(0, len(taken) - 1, min(2 * third, len(taken)), dtype=np.intp)] if len(taken) else taken
    pages = [(None, now, opened.catalogue.product_id(i), ("product", "cart")[at % 2]) for at, i in enumerate(some)]
    return [*pages, *((name, now, "", "discover") for name in opened.histories.sample_users(third))]


def contributing_models(folder: Path, evaluation_data: EvaluationData | None) -> tuple[set[str], set[str]]:
    """Models that say something of what ``evaluate`` and ``requests`` ask, and of what ``unjudged`` asks."""
    opened = Recommender(folder)
    nobody = opened.select_blend(None, opened.histories.history_of(None, (), opened.histories.until), "home")
    targets = evaluation_data.targets.user_ids if evaluation_data and evaluation_data.targets else ()
    unknown = sum(user not in opened.histories for user in targets)
    strangers = (
        _ANONYMOUS_BLENDS if unknown > MAX_POINT_LOSS * len(targets) else ()
    )  # so few hardly move what all are worth
    judged, unjudged = (
        {m for name in names for m in opened.blend_weights(name)}
        for names in (("home", nobody, *strangers), _UNLABELLED_BLENDS)
    )
    return judged, unjudged


def answer_requests(folder: Path, requests: Sequence[SampleRequest]) -> list[dict[str, float]]:
    """The first ten product ids for each, with their scores."""
    opened = Recommender(folder)
    found = []
    for name, now, *where in requests:
        page, placement = where or ("", "home")
        history = opened.page_history([page], now) if page else opened.histories.history_of(name, (), now)
        blend, leave_out = PLACEMENTS[placement]
        blend = blend if blend == "home" else opened.select_blend(name, history, blend)
        allowed = opened.allowed_items(blend, history, exclude_seen=bool(leave_out))
        scores, _ = opened.ranking_scores(history, blend, allowed)
        found.append({opened.catalogue.product_id(i): float(scores[i]) for i in top_k(scores, _K)})
    return found
