"""Evaluation of launch on new items: share of their buyers within the top users (Reach@5%).

A new item is a product of the catalogue that users bought in the evaluation period and nobody before.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import EvaluationData, MetricValues, Targets
from vetrina.evaluation.ranking import mid_ranks
from vetrina.scenarios.base import ReachPoint
from vetrina.scenarios.launch.online import AudienceSelector

AUDIENCE_SHARE = 0.05  # of all users
AUDIENCE_SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MAX_NEW_ITEMS = 2_000
_MAX_ANSWER_USERS = 100  # of a sample request


def evaluate(
    folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None, share: float = AUDIENCE_SHARE
) -> MetricValues:
    """Reach of each new item: the share of its buyers among the first ``share`` of all users; ties at half rank.

    Buyers whom the bundle does not know cannot be targeted and count as missed.

    Args:
        folder: the bundle's folder.
        evaluation_data: its targets are used.
        only_model: evaluate this model alone.
        share: size of the audience, as a share of all users.
    """
    selector = AudienceSelector(folder)
    audience_size = _audience_size(selector, share)
    product_ids = []
    values = []
    for item, buyers in new_items_with_buyers(selector, evaluation_data.targets):
        scores = selector.scores(selector.catalogue_product(item), only_model)
        known_buyers = buyers[buyers >= 0]
        n_reached = float((mid_ranks(scores, known_buyers) < audience_size + 1).sum())
        values.append(n_reached / len(buyers))
        product_ids.append(selector.catalogue.product_id(item))
    return MetricValues(f"Reach@{share:.0%}", tuple(product_ids), np.array(values))


def new_items_with_buyers(
    selector: AudienceSelector, targets: Targets | None
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each new item with the rows of its buyers in ``selector.users``, -1 for an unknown one.

    At most _MAX_NEW_ITEMS, evenly spread.
    """
    if targets is None or not targets.items:
        return
    user_rows = _user_rows(selector, np.array(targets.user_ids))
    item = np.concatenate(targets.items)
    buyer = np.repeat(user_rows, [len(items) for items in targets.items])
    is_new = (item >= 0) & ~selector.is_sold[np.maximum(item, 0)]
    item = item[is_new]
    buyer = buyer[is_new]
    new_items = np.unique(item)
    step = max(1, -(-len(new_items) // _MAX_NEW_ITEMS))
    for new_item in new_items[::step].tolist():
        yield new_item, buyer[item == new_item]


def _user_rows(selector: AudienceSelector, user_ids: np.ndarray) -> NDArray[np.intp]:
    """(n,) row of each user in ``selector.users``, -1 for an unknown one."""
    if not len(selector.users):
        return np.full(len(user_ids), -1)
    rows = np.minimum(np.searchsorted(selector.users, user_ids), len(selector.users) - 1)
    return np.where(selector.users[rows] == user_ids, rows, -1)


def _audience_size(selector: AudienceSelector, share: float) -> int:
    return max(1, round(share * len(selector.users)))


def sample_requests(folder: Path, max_requests: int) -> list[int]:
    """Items of the catalogue, new ones first."""
    selector = AudienceSelector(folder)
    new_first = np.argsort(selector.is_sold, kind="stable")
    return new_first[: min(max_requests, _MAX_NEW_ITEMS)].tolist()


def answer_requests(folder: Path, requests: list[int]) -> list[dict[str, float]]:
    """The first users for each item, with their scores."""
    selector = AudienceSelector(folder)
    answers = []
    for item in requests:
        scores = selector.scores(selector.catalogue_product(item))
        top = np.argsort(-scores, kind="stable")[:_MAX_ANSWER_USERS].tolist()
        answers.append({str(selector.users[row]): float(scores[row]) for row in top})
    return answers


def reach_curve(
    folder: Path, evaluation_data: EvaluationData, shares: Sequence[float] = AUDIENCE_SHARES
) -> list[ReachPoint]:
    """Reach and precision by size of the audience, pooled over the new items of a period; empty where there were none.

    Args:
        folder: the bundle's folder.
        evaluation_data: its targets are used.
        shares: sizes of the audience, as shares of all users.
    """
    selector = AudienceSelector(folder)
    ranks_by_item = []
    n_items = 0
    n_buyers = 0
    for item, buyers in new_items_with_buyers(selector, evaluation_data.targets):
        scores = selector.scores(selector.catalogue_product(item))
        ranks_by_item.append(mid_ranks(scores, buyers[buyers >= 0]))
        n_items += 1
        n_buyers += len(buyers)
    if not n_buyers:
        return []
    ranks = np.concatenate(ranks_by_item)
    points = []
    for share in shares:
        audience_size = _audience_size(selector, share)
        n_reached = int((ranks < audience_size + 1).sum())
        points.append(ReachPoint(share, n_reached / n_buyers, n_reached / (n_items * audience_size)))
    return points
