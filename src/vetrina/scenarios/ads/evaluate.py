"""Evaluation of ads: negative log loss of each impression.

Impressions are evaluated with the features that serving would have had at the time of the impression.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.evaluation_data import EvaluationData, MetricValues
from vetrina.core.training_data import Interactions
from vetrina.evaluation.classification import log_loss
from vetrina.scenarios.ads.examples import lookup_rows
from vetrina.scenarios.ads.features import MAX_RECENT_EVENTS, ImpressionFeatures
from vetrina.scenarios.ads.online import AdServer

_METRIC = "negative log loss"
_MAX_IMPRESSIONS = 10_000
_TOP_ADS = 10  # of a sample request


def evaluate(folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
    """Negative log loss of at most _MAX_IMPRESSIONS impressions, evenly spread, with slices for returning and new users.

    Args:
        folder: the bundle's folder.
        evaluation_data: its ad impressions and events are used.
        only_model: evaluate this model alone, without calibration.
    """
    ad_server = AdServer(folder)
    impressions = evaluation_impressions(ad_server, evaluation_data)
    if impressions is None:
        return MetricValues(_METRIC, (), np.empty(0), {})
    probability = ad_server.click_probability(impressions.features, only_model)
    values = -log_loss(impressions.clicked, probability)
    unit_ids = tuple(str(row) for row in impressions.rows.tolist())
    slices = {"returning users": impressions.is_known_user, "new users": ~impressions.is_known_user}
    return MetricValues(_METRIC, unit_ids, values, slices)


@dataclass(frozen=True)
class EvaluationImpressions:
    """Impressions with the features that serving would have had.

    ``rows`` (n,) of the logged impressions, ``features`` of n rows, ``clicked`` (n,) 0 or 1, ``is_known_user`` (n,) whether the
    bundle has a history of the user.
    """

    rows: NDArray[np.intp]
    features: ImpressionFeatures
    clicked: NDArray[np.float64]
    is_known_user: NDArray[np.bool_]


def evaluation_impressions(ad_server: AdServer, evaluation_data: EvaluationData) -> EvaluationImpressions | None:
    """At most _MAX_IMPRESSIONS impressions, evenly spread; None without impressions or without click models."""
    impressions = evaluation_data.ad_impressions
    if impressions is None or not len(impressions) or not ad_server.models:
        return None
    step = max(1, -(-len(impressions) // _MAX_IMPRESSIONS))
    rows = np.arange(len(impressions))[::step]
    user_rows = lookup_rows(np.asarray(ad_server.users), impressions.users)
    events_by_user = _events_by_user(evaluation_data.events)
    features = []
    for row in rows.tolist():
        user_index = impressions.user[row]
        user = str(impressions.users[user_index])
        times, items = events_by_user.get(user, ([], []))
        n_before = bisect_left(times, float(impressions.time[row]))
        in_bundle = ad_server.histories.history_of(user, (), evaluation_data.now).items[-MAX_RECENT_EVENTS:].tolist()
        recent = [*in_bundle, *items[:n_before][-MAX_RECENT_EVENTS:]]
        features.append(
            ad_server.impression_features(
                int(user_rows[user_index]),
                recent[-MAX_RECENT_EVENTS:],
                impressions.item[row : row + 1],
                int(impressions.position[row]),
            )
        )
    clicked = impressions.clicked[rows].astype(np.float64)
    is_known_user = user_rows[impressions.user[rows]] >= 0
    return EvaluationImpressions(rows, ImpressionFeatures.concatenate(features), clicked, is_known_user)


def _events_by_user(events: Interactions | None) -> dict[str, tuple[list[float], list[int]]]:
    """Times and items of each user's events, oldest first."""
    events_by_user: dict[str, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
    if events is None:
        return events_by_user
    for user_index, item, time in zip(events.user.tolist(), events.item.tolist(), events.time.tolist(), strict=True):
        times, items = events_by_user[str(events.users[user_index])]
        times.append(time)
        items.append(item)
    return events_by_user


def sample_requests(folder: Path, max_requests: int) -> list[tuple[str | None, float]]:
    """An anonymous visitor and users of the bundle, each with the time at which the bundle's history ends."""
    histories = AdServer(folder).histories
    return [(user, histories.until) for user in (None, *histories.sample_users(max_requests))]


def answer_requests(folder: Path, requests: list[tuple[str | None, float]]) -> list[dict[str, float]]:
    """For each request the products of the ten ads with the highest click probability, with these probabilities."""
    ad_server = AdServer(folder)
    answers = []
    for user, now in requests:
        recent = ad_server.histories.history_of(user, (), now).items[-MAX_RECENT_EVENTS:].tolist()
        features = ad_server.impression_features(ad_server.user_row(user), recent, ad_server.items)
        probability = ad_server.click_probability(features)
        best_by_product: dict[str, float] = {}
        for ad_index in np.argsort(-probability, kind="stable")[:_TOP_ADS].tolist():
            best_by_product.setdefault(ad_server.ads[ad_index].product_id, float(probability[ad_index]))
        answers.append(best_by_product)
    return answers
