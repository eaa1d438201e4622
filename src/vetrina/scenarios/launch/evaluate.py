"""Judges launch by products that nobody had before: what share of their buyers stands among the first of all users."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import EvaluationData, MetricValues, Targets
from vetrina.metrics.ranking import mid_ranks
from vetrina.scenarios.launch.online import AudienceSelector

AUDIENCE_SHARE = 0.05
AUDIENCE_SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MAX_NEW_ITEMS = 2_000
_MAX_ANSWER_USERS = 100


def evaluate(
    folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None, share: float = AUDIENCE_SHARE
) -> MetricValues:
    """Of each launch the share of its buyers among the first ``share`` of all users; ties at half rank.

    A launch is a product of the catalogue that somebody took in the period and nobody before. Buyers whom the version does
    not know cannot be told and count as missed.
    """
    opened = AudienceSelector(folder)
    values = []
    names = []
    reached = max(1, round(share * len(opened.users)))
    for item, buyers in new_items_with_buyers(opened, evaluation_data.targets):
        score = opened.scores(opened.catalogue_product(item), only_model)
        known = buyers[buyers >= 0]
        values.append(float((mid_ranks(score, known) < reached + 1).sum()) / len(buyers))
        names.append(opened.catalogue.product_id(item))
    return MetricValues(f"Reach@{share:.0%}", tuple(names), np.array(values))


def new_items_with_buyers(
    selector: AudienceSelector, targets: Targets | None
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each launch with its buyers as rows of users, -1 for one unknown; at most _MOST_LAUNCHES, evenly spread."""
    if targets is None or not targets.items:
        return
    users = np.array(targets.user_ids)
    at = np.minimum(np.searchsorted(selector.users, users), max(0, len(selector.users) - 1))
    row = np.where(selector.users[at] == users, at, -1) if len(selector.users) else np.full(len(users), -1)
    item = np.concatenate(targets.items)
    buyer = np.repeat(row, [len(i) for i in targets.items])
    new = (item >= 0) & ~selector.is_sold[np.maximum(item, 0)]
    item = item[new]
    buyer = buyer[new]
    distinct = np.unique(item)
    for chosen in distinct[:: max(1, -(-len(distinct) // _MAX_NEW_ITEMS))].tolist():
        yield chosen, buyer[item == chosen]


def sample_requests(folder: Path, max_requests: int) -> list[int]:
    """Products of the catalogue, new ones first."""
    opened = AudienceSelector(folder)
    order = np.argsort(opened.is_sold, kind="stable")
    return order[: min(max_requests, _MAX_NEW_ITEMS)].tolist()


def answer_requests(folder: Path, requests: list[int]) -> list[dict[str, float]]:
    """The first users for each, with their scores."""
    opened = AudienceSelector(folder)
    found = (opened.scores(opened.catalogue_product(item)) for item in requests)
    return [
        {str(opened.users[u]): float(score[u]) for u in np.argsort(-score, kind="stable")[:_MAX_ANSWER_USERS].tolist()}
        for score in found
    ]


@dataclass(frozen=True)
class ReachPoint:
    """Telling the first ``share`` of all users of each launch: which share of the buyers that reaches, and how many of those told
    buy (``precision``)."""

    audience_share: float
    reach: float
    precision: float


def reach_curve(
    folder: Path, evaluation_data: EvaluationData, shares: Sequence[float] = AUDIENCE_SHARES
) -> list[ReachPoint]:
    """Pooled over the launches of a period; empty where there were none."""
    opened = AudienceSelector(folder)
    ranks = []
    launches = 0
    buyers = 0
    for item, took in new_items_with_buyers(opened, evaluation_data.targets):
        score = opened.scores(opened.catalogue_product(item))
        ranks.append(mid_ranks(score, took[took >= 0]))
        launches = launches + 1
        buyers = buyers + len(took)
    if not buyers:
        return []
    found = np.concatenate(ranks)
    told = [max(1, round(share * len(opened.users))) for share in shares]
    hits = [int((found < most + 1).sum()) for most in told]
    return [
        ReachPoint(share, hit / buyers, hit / (launches * most))
        for share, hit, most in zip(shares, hits, told, strict=True)
    ]
