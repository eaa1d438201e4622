"""Session index of V-SKNN (Ludewig and Jannach 2018) with recency weights.

A session ends where a user has no event for half an hour. Where hardly any session then has a second item (a log of
days, or of orders), a user's whole history is one session.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import dictionary_encoding
from vetrina.bundle.elias_fano import save_elias_fano
from vetrina.core.progress import Progress
from vetrina.core.types import Interactions, TrainingData, TrainingPlan, TrainNotes
from vetrina.models.sessions.model import MODEL
from vetrina.models.sessions.online import SESSION_GAP_SECONDS

MAX_SESSIONS_PER_ITEM = 2_000  # the newest
MAX_SESSIONS = 1_000_000  # the newest
MIN_MEAN_SESSION_EVENTS = 1.5  # below, a user's whole history is one session


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes the index of sessions.

    Sorted lists in both directions: ``item_sessions``, the sessions of an item, newest first, and ``session_items``,
    the items of a session; ``session_weights.npy`` (sessions,) = exp(-recency * age) / sqrt(items), age from 0 for the
    newest to 1; ``idf`` (items,), an inverse document frequency log((sessions + 1) / sessions with it);
    ``settings.json`` for scoring.

    Args:
        training_data: Needs the catalogue and interactions.
        plan: Hyper-parameters.
        into: The output folder.
        progress: Reports when it is done.

    Returns:
        Report: number of sessions, and whether they are whole histories.
    """
    events = training_data.interactions
    if training_data.catalogue is None or events is None:
        raise ValueError("sessions needs a catalogue and events")
    hyperparameters = MODEL.hyperparameters_in(plan)
    n_items = len(training_data.catalogue)
    with progress.step("sessions", 1) as step:
        recent = _newest_sessions(events)
        n_sessions = len(recent.ages)
        session_items = np.unique(recent.session * n_items + recent.item)
        sessions = session_items // n_items
        items = (session_items % n_items).astype(np.int32)
        items_per_session = np.bincount(sessions, minlength=n_sessions)
        sessions_per_item = np.bincount(items, minlength=n_items)
        save_elias_fano(into, "session_items", items_per_session, items)
        _save_sessions_by_item(into, sessions, items, sessions_per_item)
        decay = np.exp(-hyperparameters["recency"] * recent.ages)
        weights = decay / np.sqrt(np.maximum(items_per_session, 1))
        np.save(into / "session_weights.npy", weights.astype(np.float32))
        idf = np.log((1.0 + len(items_per_session)) / np.maximum(sessions_per_item, 1))
        dictionary_encoding.save(into, "idf", idf.astype(np.float32))
        settings = {**hyperparameters, "whole": recent.uses_whole_history}
        (into / "settings.json").write_bytes(msgspec.json.encode(settings))
        step.advance()
    return TrainNotes(report={"visits": n_sessions, "whole_histories": recent.uses_whole_history})


def _save_sessions_by_item(
    into: Path, sessions: NDArray[np.int64], items: NDArray[np.int32], sessions_per_item: NDArray[np.intp]
) -> None:
    """Writes the newest MAX_SESSIONS_PER_ITEM sessions of each item; sessions are numbered from the newest."""
    order = np.lexsort((sessions, items))
    starts = np.cumsum(sessions_per_item) - sessions_per_item
    rank_in_item = np.arange(len(order)) - np.repeat(starts, sessions_per_item)
    newest = sessions[order][rank_in_item < MAX_SESSIONS_PER_ITEM]
    save_elias_fano(into, "item_sessions", np.minimum(sessions_per_item, MAX_SESSIONS_PER_ITEM), newest)


@dataclass(frozen=True)
class _RecentSessions:
    """``session``, numbered from the newest, and ``item`` of each event (n,); ``ages`` (sessions,) from 0 to 1."""

    session: NDArray[np.int64]
    item: NDArray[np.int32]
    ages: NDArray[np.float64]
    uses_whole_history: bool


def _newest_sessions(events: Interactions) -> _RecentSessions:
    """At most MAX_SESSIONS of them, by their last event."""
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user = events.user[order]
    item = events.item[order]
    time = events.time[order]
    session = session_ids(user, time, SESSION_GAP_SECONDS)
    n_sessions = int(session.max(initial=-1)) + 1
    uses_whole_history = bool(len(user) < MIN_MEAN_SESSION_EVENTS * n_sessions)
    if uses_whole_history:
        session = session_ids(user, time, np.inf)
        n_sessions = int(session.max(initial=-1)) + 1
    end_times = np.full(n_sessions, -np.inf)
    np.maximum.at(end_times, session, time)
    newest_first = np.argsort(-end_times, kind="stable")[:MAX_SESSIONS]
    number_of = np.full(n_sessions, -1, np.int64)
    number_of[newest_first] = np.arange(len(newest_first))
    numbers = number_of[session]
    is_recent = numbers >= 0
    ages = end_times[newest_first[:1]] - end_times[newest_first]
    max_age = max(float(ages.max(initial=0.0)), 1.0)
    return _RecentSessions(numbers[is_recent], item[is_recent], ages / max_age, uses_whole_history)


def session_ids(user: NDArray[np.int32], time: NDArray[np.float64], gap_seconds: float) -> NDArray[np.int64]:
    """The session of each event, numbered from 0.

    Args:
        user: User of each event (n,), sorted.
        time: Time of each event in seconds (n,), sorted within a user.
        gap_seconds: Time without an event after which a new session begins.

    Returns:
        (n,).
    """
    if not len(user):
        return np.empty(0, np.int64)
    is_other_user = user[1:] != user[:-1]
    is_after_gap = np.diff(time) > gap_seconds
    return np.r_[0, np.cumsum(is_other_user | is_after_gap)]
