"""Judges ads by the log loss of every impression, turned round so that more is better."""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Evidence, Scores
from vetrina.metrics.classification import log_loss
from vetrina.scenarios.ads.examples import rows_of
from vetrina.scenarios.ads.features import RECENT, Situations
from vetrina.scenarios.ads.online import Ads

_MOST = 10_000


def evaluate(folder: Path, evidence: Evidence, *, only: str | None = None) -> Scores:
    """Minus the cross-entropy of at most _MOST impressions, evenly spread. Slices: users whom the bundle knows or not."""
    opened = Ads(folder)
    found = asked(opened, evidence)
    if found is None:
        return Scores("negative log loss", (), np.empty(0), {})
    values = -log_loss(found.clicked, opened.chance(found.situations, only))
    slices = {"returning users": found.known, "new users": ~found.known}
    return Scores("negative log loss", tuple(map(str, found.rows.tolist())), values, slices)


@dataclass(frozen=True)
class Asked:
    """Impressions as serving would have seen them: ``rows`` (n,) of those shown, ``clicked`` and user ``known`` (n,)."""

    rows: NDArray[np.intp]
    situations: Situations
    clicked: NDArray[np.float64]
    known: NDArray[np.bool_]


def asked(opened: Ads, evidence: Evidence) -> Asked | None:
    """At most _MOST, evenly spread; None where nothing was shown or no model learnt from what was."""
    shown = evidence.impressions
    if shown is None or not len(shown) or not opened.models:
        return None
    rows = np.arange(len(shown))[:: max(1, -(-len(shown) // _MOST))]
    user = rows_of(np.asarray(opened.users), shown.users)
    happened: dict[str, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
    if evidence.events is not None:
        events = evidence.events
        for who, item, time in zip(events.user.tolist(), events.item.tolist(), events.time.tolist(), strict=True):
            times, items = happened[str(events.users[who])]
            times.append(time)
            items.append(item)
    found = []
    for row in rows.tolist():
        name = str(shown.users[shown.user[row]])
        times, items = happened.get(name, ([], []))
        before = opened.histories.of(name, (), evidence.now).items[-RECENT:].tolist()
        recent = [*before, *items[: bisect_left(times, float(shown.time[row]))][-RECENT:]]
        asked_for, place = shown.item[row : row + 1], int(shown.place[row])
        found.append(opened.situations(int(user[shown.user[row]]), recent[-RECENT:], asked_for, place))
    clicked = shown.clicked[rows].astype(np.float64)
    return Asked(rows, Situations.joined(found), clicked, user[shown.user[rows]] >= 0)


def requests(folder: Path, most: int) -> list[tuple[str | None, float]]:
    """Users whom this folder knows, and nobody, each at the moment where its past ends."""
    histories = Ads(folder).histories
    return [(name, histories.until) for name in (None, *histories.users(most))]


def answers(folder: Path, asked: list[tuple[str | None, float]]) -> list[dict[str, float]]:
    """The products of the ten likeliest clicks for each, with their chances."""
    opened = Ads(folder)
    found = []
    for name, now in asked:
        recent = opened.histories.of(name, (), now).items[-RECENT:].tolist()
        chance = opened.chance(opened.situations(opened.row(name), recent, opened.items))
        order = np.argsort(-chance, kind="stable")[:10].tolist()
        of_product: dict[str, float] = {}
        for at in order:
            of_product.setdefault(opened.ads[at].product_id, float(chance[at]))
        found.append(of_product)
    return found
