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

from vetrina.core import few_values
from vetrina.core.number_lists import save_sorted
from vetrina.core.progress import Progress
from vetrina.core.types import Interactions, Past, Plan
from vetrina.models.sessions.online import BREAK

SETTINGS = {"fade": 0.6, "recency": 1.5, "neighbours": 500}
MOST_PER_ITEM, MOST_VISITS, LEAST_LENGTH = 2_000, 1_000_000, 1.5


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes both directions as sorted lists: visits of a product, newest first, and products of a visit; ``worth.npy`` (visits,)
    = exp(-recency * age) / sqrt(products), age from 0 for the newest to 1; ``rarity.npy`` (items,) = log(visits / those with it).
    """
    events = past.interactions
    if past.catalogue is None or events is None:
        raise ValueError("sessions needs a catalogue and events")
    chosen, items = plan.of("sessions", SETTINGS), len(past.catalogue)
    with progress.step("sessions", 1) as step:
        kept = _newest(events)
        pairs = np.unique(kept.visit * items + kept.item)
        numbered, taken = pairs // items, (pairs % items).astype(np.int32)
        lengths = np.bincount(numbered, minlength=len(kept.ages))
        by_item = np.lexsort((numbered, taken))
        with_it = np.bincount(taken, minlength=items)
        place = np.arange(len(by_item)) - np.repeat(np.cumsum(with_it) - with_it, with_it)
        save_sorted(into, "visit_items", lengths, taken)
        newest = numbered[by_item][place < MOST_PER_ITEM]
        save_sorted(into, "item_visits", np.minimum(with_it, MOST_PER_ITEM), newest)
        worth = np.exp(-chosen["recency"] * kept.ages) / np.sqrt(np.maximum(lengths, 1))
        np.save(into / "worth.npy", worth.astype(np.float32))
        few_values.save(into, "rarity", np.log((1.0 + len(lengths)) / np.maximum(with_it, 1)).astype(np.float32))
        (into / "settings.json").write_bytes(msgspec.json.encode({**chosen, "whole": kept.whole}))
        step.advance()
    return {"visits": len(kept.ages), "whole_histories": kept.whole}


@dataclass(frozen=True)
class _Kept:
    """Visits numbered from the newest: ``visit`` and ``item`` of each event, ``ages`` (visits,) from 0 to 1."""

    visit: NDArray[np.int64]
    item: NDArray[np.int32]
    ages: NDArray[np.float64]
    whole: bool


def _newest(events: Interactions) -> _Kept:
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user, item, time = events.user[order], events.item[order], events.time[order]
    visit = visits(user, time, BREAK)
    whole = bool(len(user) < LEAST_LENGTH * (visit.max(initial=-1) + 1))
    if whole:
        visit = visits(user, time, np.inf)
    ends = np.full(int(visit.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(ends, visit, time)
    newest = np.argsort(-ends, kind="stable")[:MOST_VISITS]
    place = np.full(len(ends), -1, np.int64)
    place[newest] = np.arange(len(newest))
    kept = place[visit] >= 0
    ages = ends[newest[:1]] - ends[newest]
    return _Kept(place[visit][kept], item[kept], ages / max(float(ages.max(initial=0.0)), 1.0), whole)


def visits(user: NDArray[np.int32], time: NDArray[np.float64], gap: float) -> NDArray[np.int64]:
    """Number (n,) of each event's visit, from 0; events stand by user and time, a new visit begins after ``gap`` seconds."""
    if not len(user):
        return np.empty(0, np.int64)
    new = (user[1:] != user[:-1]) | (np.diff(time) > gap)
    return np.r_[0, np.cumsum(new)]
