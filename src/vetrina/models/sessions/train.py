"""Keeps the visits themselves: the nearest of them answer (V-SKNN, Ludewig & Jannach 2018, with recency).

A visit ends where a user does nothing for half an hour. Where hardly any visit then has a second product (a log of days, or of
orders), a user's whole history is one visit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import dictionary_encoding
from vetrina.core.elias_fano import save_elias_fano
from vetrina.core.progress import Progress
from vetrina.core.types import Interactions, TrainingData, TrainingPlan
from vetrina.models.sessions.online import SESSION_GAP_SECONDS

HYPERPARAMETERS = {"fade": 0.6, "recency": 1.5, "neighbours": 500}
MAX_SESSIONS_PER_ITEM = 2_000
MAX_SESSIONS = 1_000_000
MIN_MEAN_SESSION_EVENTS = 1.5


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes both directions as sorted lists: visits of a product, newest first, and products of a visit; ``worth.npy`` (visits,)
    = exp(-recency * age) / sqrt(products), age from 0 for the newest to 1; ``rarity.npy`` (items,) = log(visits / those with it).
    """
    events = training_data.interactions
    if training_data.catalogue is None or events is None:
        raise ValueError("sessions needs a catalogue and events")
    chosen = plan.hyperparameters_of("sessions", HYPERPARAMETERS)
    items = len(training_data.catalogue)
    with progress.step("sessions", 1) as step:
        kept = _newest_sessions(events)
        pairs = np.unique(kept.session * items + kept.item)
        numbered = pairs // items
        taken = (pairs % items).astype(np.int32)
        lengths = np.bincount(numbered, minlength=len(kept.ages))
        by_item = np.lexsort((numbered, taken))
        with_it = np.bincount(taken, minlength=items)
        place = np.arange(len(by_item)) - np.repeat(np.cumsum(with_it) - with_it, with_it)
        save_elias_fano(into, "visit_items", lengths, taken)
        newest = numbered[by_item][place < MAX_SESSIONS_PER_ITEM]
        save_elias_fano(into, "item_visits", np.minimum(with_it, MAX_SESSIONS_PER_ITEM), newest)
        worth = np.exp(-chosen["recency"] * kept.ages) / np.sqrt(np.maximum(lengths, 1))
        np.save(into / "worth.npy", worth.astype(np.float32))
        dictionary_encoding.save(
            into, "rarity", np.log((1.0 + len(lengths)) / np.maximum(with_it, 1)).astype(np.float32)
        )
        (into / "settings.json").write_bytes(msgspec.json.encode({**chosen, "whole": kept.uses_whole_history}))
        step.advance()
    return {"visits": len(kept.ages), "whole_histories": kept.uses_whole_history}


@dataclass(frozen=True)
class _RecentSessions:
    """Visits numbered from the newest: ``visit`` and ``item`` of each event, ``ages`` (visits,) from 0 to 1."""

    session: NDArray[np.int64]
    item: NDArray[np.int32]
    ages: NDArray[np.float64]
    uses_whole_history: bool


def _newest_sessions(events: Interactions) -> _RecentSessions:
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user = events.user[order]
    item = events.item[order]
    time = events.time[order]
    visit = session_ids(user, time, SESSION_GAP_SECONDS)
    whole = bool(len(user) < MIN_MEAN_SESSION_EVENTS * (visit.max(initial=-1) + 1))
    if whole:
        visit = session_ids(user, time, np.inf)
    ends = np.full(int(visit.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(ends, visit, time)
    newest = np.argsort(-ends, kind="stable")[:MAX_SESSIONS]
    place = np.full(len(ends), -1, np.int64)
    place[newest] = np.arange(len(newest))
    kept = place[visit] >= 0
    ages = ends[newest[:1]] - ends[newest]
    return _RecentSessions(place[visit][kept], item[kept], ages / max(float(ages.max(initial=0.0)), 1.0), whole)


def session_ids(user: NDArray[np.int32], time: NDArray[np.float64], gap_seconds: float) -> NDArray[np.int64]:
    """Number (n,) of each event's visit, from 0; events stand by user and time, a new visit begins after ``gap`` seconds."""
    if not len(user):
        return np.empty(0, np.int64)
    new = (user[1:] != user[:-1]) | (np.diff(time) > gap_seconds)
    return np.r_[0, np.cumsum(new)]
