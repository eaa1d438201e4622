"""Judges ads by the log loss of every impression, turned round so that more is better."""

from bisect import bisect_left
from collections import defaultdict
from pathlib import Path

import numpy as np

from vetrina.core.types import Evidence, Floats, Scores
from vetrina.metrics.classification import log_loss
from vetrina.scenarios.ads.examples import rows_of
from vetrina.scenarios.ads.features import NAMES, RECENT
from vetrina.scenarios.ads.online import Ads

_MOST = 10_000
_PLACE = NAMES.index("place")


def evaluate(folder: Path, evidence: Evidence, *, only: str | None = None) -> Scores:
    """Minus the cross-entropy of at most _MOST impressions, evenly spread. Slices: users whom the bundle knows or not."""
    opened = Ads(folder)
    rows, features, clicked, known = asked(opened, evidence)
    values = -log_loss(clicked, opened.chance(features, only)) if len(rows) else np.empty(0)
    slices = {"returning users": known, "new users": ~known}
    return Scores("negative log loss", tuple(map(str, rows.tolist())), values, slices)


def asked(opened: Ads, evidence: Evidence) -> tuple[np.ndarray, Floats, np.ndarray, np.ndarray]:
    """Which impressions (n,), their features (n, NAMES) as serving would have seen them, ``clicked`` (n,), known user (n,)."""
    shown = evidence.impressions
    if shown is None or not len(shown) or not opened.models:
        return np.empty(0, np.intp), np.empty((0, len(NAMES)), np.float32), np.empty(0), np.empty(0, bool)
    rows = np.arange(len(shown))[:: max(1, -(-len(shown) // _MOST))]
    user = rows_of(np.asarray(opened.users), shown.users)
    happened: dict[str, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
    if evidence.events is not None:
        events = evidence.events
        for who, item, time in zip(events.user.tolist(), events.item.tolist(), events.time.tolist(), strict=True):
            times, items = happened[str(events.users[who])]
            times.append(time)
            items.append(item)
    features = np.empty((len(rows), len(NAMES)), np.float32)
    for at, row in enumerate(rows.tolist()):
        name = str(shown.users[shown.user[row]])
        times, items = happened.get(name, ([], []))
        before = opened.histories.of(name, (), evidence.now).items[-RECENT:].tolist()
        recent = [*before, *items[: bisect_left(times, float(shown.time[row]))][-RECENT:]]
        features[at] = opened.features(int(user[shown.user[row]]), recent[-RECENT:], shown.item[row : row + 1])[0]
    features[:, _PLACE] = shown.place[rows]
    return rows, features, shown.clicked[rows].astype(np.float64), user[shown.user[rows]] >= 0


def requests(folder: Path, most: int) -> list[tuple[str | None, float]]:
    """Users whom this folder knows, and nobody, each at the moment where its past ends."""
    histories = Ads(folder).histories
    return [(name, histories.until) for name in (None, *histories.users(most))]


def answers(folder: Path, asked: list[tuple[str | None, float]]) -> list[list[str]]:
    """The products of the ten likeliest clicks for each."""
    opened = Ads(folder)
    found = []
    for name, now in asked:
        recent = opened.histories.of(name, (), now).items[-RECENT:].tolist()
        chance = opened.chance(opened.features(opened.row(name), recent, opened.items))
        found.append([opened.ads[at].product_id for at in np.argsort(-chance, kind="stable")[:10].tolist()])
    return found
