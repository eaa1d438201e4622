"""Judges recommend on what users really took next, over the full catalogue."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vetrina.core.types import Evidence, Scores
from vetrina.metrics.loss import POINT
from vetrina.metrics.ranking import half_ranks, ndcg, recall, reciprocal_rank
from vetrina.retrieval.worth import bent, lift
from vetrina.scenarios.recommend.online import PLACEMENTS, Recommend, best
from vetrina.scenarios.recommend.units import users

METRICS = {"NDCG": ndcg, "Recall": recall, "MRR": lambda ranks, relevant, k: reciprocal_rank(ranks, k)}
_K = 10
_OF_STRANGERS, _UNJUDGED = ("session", "unseen"), ("session", "discover", "unseen")  # blends that are asked
# A user or nobody and when; elsewhere than at home the product of the page, and the placement.
Asked = tuple[str | None, float] | tuple[str | None, float, str, str]
_MOST_UNITS = 4_000


def evaluate(
    folder: Path,
    evidence: Evidence,
    *,
    only: str | None = None,
    metric: str = "NDCG@10",
    new_only: bool = False,
    allowed: np.ndarray | None = None,
    goals: Mapping[str, float] | None = None,
    most: int = _MOST_UNITS,
) -> Scores:
    """The ``metric`` (name@k of ``METRICS``) of each of ``most`` users; ``only`` one model, ``new_only`` what is new to them.

    Targets outside the catalogue count as missed. ``allowed`` (items,) bool narrows what is ranked, ``goals`` of the shop bend
    the order.
    Slices: users known to the bundle or not.
    """
    figure, k = METRICS[metric.split("@")[0]], int(metric.split("@")[1])
    opened = Recommend(folder)
    if only is not None:
        opened.weights = {blend: {only: 1.0} for blend in opened.weights}
        opened.order_by_weights()
    names, values, known = [], [], []
    lifted = lift(opened.worth, goals or {})
    for unit in users(opened.histories, evidence, new_only=new_only, most=most):
        name = opened.blend_for(unit.name, unit.history, "discover" if new_only else "home")
        mask = opened.may_show(name, unit.history, leave_out=new_only)
        if allowed is not None:
            mask &= allowed
        scores, _ = opened.ranked(unit.history, name, mask)
        scores = bent(scores, lifted)
        ranks = half_ranks(scores, unit.items)
        ranks = ranks[np.isfinite(scores[unit.items])]
        names.append(unit.name)
        known.append(unit.known)
        values.append(figure(ranks, unit.relevant, k))
    flags = np.array(known, bool)
    slices = {"returning users": flags, "new users": ~flags}
    return Scores(metric, tuple(names), np.array(values), slices)


def requests(folder: Path, most: int) -> list[Asked]:
    """Users whom this folder knows, and nobody, each at the moment where its past ends."""
    histories = Recommend(folder).histories
    return [(name, histories.until) for name in (None, *histories.users(most))]


def unjudged(folder: Path, most: int) -> list[Asked]:
    """What no held-out user stands for: somebody unknown on the page of a product or with it in the cart, evenly from the most to
    the least taken, and known users who want to discover something.
    """
    opened, third = Recommend(folder), -(-most // 3)
    now, taken = opened.histories.until, best(np.where(opened.counts >= 1, opened.counts, -np.inf), len(opened.shelf))
    some = taken[np.linspace(0, len(taken) - 1, min(2 * third, len(taken)), dtype=np.intp)] if len(taken) else taken
    pages = [(None, now, opened.shelf.id(i), ("product", "cart")[at % 2]) for at, i in enumerate(some)]
    return [*pages, *((name, now, "", "discover") for name in opened.histories.users(third))]


def asked_models(folder: Path, evidence: Evidence | None) -> tuple[set[str], set[str]]:
    """Models that say something of what ``evaluate`` and ``requests`` ask, and of what ``unjudged`` asks."""
    opened = Recommend(folder)
    nobody = opened.blend_for(None, opened.histories.of(None, (), opened.histories.until), "home")
    targets = evidence.targets.user if evidence and evidence.targets else ()
    unknown = sum(user not in opened.histories for user in targets)
    strangers = _OF_STRANGERS if unknown > POINT * len(targets) else ()  # so few hardly move what all are worth
    judged, unjudged = (
        {m for name in names for m in opened.blend(name)} for names in (("home", nobody, *strangers), _UNJUDGED)
    )
    return judged, unjudged


def answers(folder: Path, asked: Sequence[Asked]) -> list[dict[str, float]]:
    """The first ten product ids for each, with their scores."""
    opened = Recommend(folder)
    found = []
    for name, now, *where in asked:
        page, placement = where or ("", "home")
        history = opened.page([page], now) if page else opened.histories.of(name, (), now)
        blend, leave_out = PLACEMENTS[placement]
        blend = blend if blend == "home" else opened.blend_for(name, history, blend)
        allowed = opened.may_show(blend, history, leave_out=bool(leave_out))
        scores, _ = opened.ranked(history, blend, allowed)
        found.append({opened.shelf.id(i): float(scores[i]) for i in best(scores, _K)})
    return found
