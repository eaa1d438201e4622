"""Judges ads by the log loss of every impression, turned round so that more is better."""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import EvaluationData, MetricValues
from vetrina.metrics.classification import log_loss
from vetrina.scenarios.ads.examples import lookup_rows
from vetrina.scenarios.ads.features import MAX_RECENT_EVENTS, ImpressionFeatures
from vetrina.scenarios.ads.online import AdServer

_MAX_IMPRESSIONS = 10_000


def evaluate(folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
    """Minus the cross-entropy of at most _MOST impressions, evenly spread. Slices: users whom the bundle knows or not."""
    opened = AdServer(folder)
    found = evaluation_impressions(opened, evaluation_data)
    if found is None:
        return MetricValues("negative log loss", (), np.empty(0), {})
    values = -log_loss(found.clicked, opened.click_probability(found.features, only_model))
    slices = {"returning users": found.is_known_user, "new users": ~found.is_known_user}
    return MetricValues("negative log loss", tuple(map(str, found.rows.tolist())), values, slices)


@dataclass(frozen=True)
class EvaluationImpressions:
    """Impressions as serving would have seen them: ``rows`` (n,) of those shown, ``clicked`` and user ``known`` (n,)."""

    rows: NDArray[np.intp]
    features: ImpressionFeatures
    clicked: NDArray[np.float64]
    is_known_user: NDArray[np.bool_]


def evaluation_impressions(ad_server: AdServer, evaluation_data: EvaluationData) -> EvaluationImpressions | None:
    """At most _MOST, evenly spread; None where nothing was shown or no model learnt from what was."""
    shown = evaluation_data.ad_impressions
    if shown is None or not len(shown) or not ad_server.models:
        return None
    rows = np.arange(len(shown))[:: max(1, -(-len(shown) // _MAX_IMPRESSIONS))]
    user = lookup_rows(np.asarray(ad_server.users), shown.users)
    happened: dict[str, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
    if evaluation_data.events is not None:
        events = evaluation_data.events
        for who, item, time in zip(events.user.tolist(), events.item.tolist(), events.time.tolist(), strict=True):
            times, items = happened[str(events.users[who])]
            times.append(time)
            items.append(item)
    found = []
    for row in rows.tolist():
        name = str(shown.users[shown.user[row]])
        times, items = happened.get(name, ([], []))
        before = ad_server.histories.history_of(name, (), evaluation_data.now).items[-MAX_RECENT_EVENTS:].tolist()
        recent = [*before, *items[: bisect_left(times, float(shown.time[row]))][-MAX_RECENT_EVENTS:]]
        asked_for = shown.item[row : row + 1]
        place = int(shown.position[row])
        found.append(
            ad_server.impression_features(int(user[shown.user[row]]), recent[-MAX_RECENT_EVENTS:], asked_for, place)
        )
    clicked = shown.clicked[rows].astype(np.float64)
    return EvaluationImpressions(rows, ImpressionFeatures.concatenate(found), clicked, user[shown.user[rows]] >= 0)


def sample_requests(folder: Path, max_requests: int) -> list[tuple[str | None, float]]:
    """Users whom this folder knows, and nobody, each at the moment where its past ends."""
    histories = AdServer(folder).histories
    return [(name, histories.until) for name in (None, *histories.sample_users(max_requests))]


def answer_requests(folder: Path, requests: list[tuple[str | None, float]]) -> list[dict[str, float]]:
    """The products of the ten likeliest clicks for each, with their chances."""
    opened = AdServer(folder)
    found = []
    for name, now in requests:
        recent = opened.histories.history_of(name, (), now).items[-MAX_RECENT_EVENTS:].tolist()
        chance = opened.click_probability(opened.impression_features(opened.user_row(name), recent, opened.items))
        order = np.argsort(-chance, kind="stable")[:10].tolist()
        of_product: dict[str, float] = {}
        for at in order:
            of_product.setdefault(opened.ads[at].product_id, float(chance[at]))
        found.append(of_product)
    return found
