"""What campaigns spent and users saw today, folded from the logs: every worker that reads the same logs knows the same.

A click costs what its answer said, at most what is left of the day's budget, and once however often it is repeated; so no
budget is ever overspent, whoever crashes when. Budgets are cut by days of UTC. Impressions of this worker count at once,
those of others as soon as the log of exposures shows them.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.core.types import Answer, Offer
from vetrina.scenarios.ads.pacing import BUCKETS, Pace, coming, pace
from vetrina.store import eventlog

_PLACES, _SOLVED_EVERY = 2_000, 1.0
_PRIOR, _FADES = 5.0, 6 * 3_600.0  # expected clicks that a correction is drawn to 1 by; how fast they are forgotten
_LATE = 2.0


class _Day:
    """One day's account."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked = np.zeros(BUCKETS)
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.seen: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))


class Ledger:
    """``core.protocols.SpendLedger`` over the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()
        self._day, self._yesterday = _Day(-1), np.zeros(BUCKETS)
        self._budgets: dict[str, float] = {}
        self._known: dict[str, float] = {}  # requests whose exposure was counted, and when
        self._charged: set[tuple[str, str]] = set()
        self._events, self._exposed = 0, 0.0
        self._expected: dict[str, tuple[float, float, float]] = {}  # ad: moment, expected clicks, clicks, both fading
        self._places: defaultdict[str, deque[Offer]] = defaultdict(lambda: deque(maxlen=_PLACES))
        self._paces: dict[str, tuple[float, Pace]] = {}

    def follow(self, budgets: Mapping[str, float]) -> None:
        """Take in what the logs gained. ``budgets`` of the campaigns that run; nothing is read while none does."""
        self._budgets = dict(budgets)
        if not budgets:
            return
        now = clock.now()
        since = max(self._exposed - _LATE, _midnight(now))
        exposures = eventlog.shown(self._engine, "ads", since, now + DAY, items=True)
        clicks, last = eventlog.clicked_ads(self._engine, self._events, _midnight(now))
        answers = eventlog.items_of(self._engine, {c["request_id"] for c in clicks})
        yesterday = self._before(now) if self._day.number < 0 else None
        with self._lock:
            self._turn(now)
            if yesterday is not None:
                self._yesterday = yesterday
            for row in exposures:
                self._exposed = max(self._exposed, row["time"])
                self._count(row["request_id"], row["user"] or row["session"], row["items"], row["time"])
            self._events = last
            for click in clicks:
                self._charge(click, answers.get(click["request_id"], ()))

    def _before(self, now: float) -> NDArray[np.float64]:
        """Answers of the day before, by bucket, for a worker that has just begun."""
        rows = eventlog.shown(self._engine, "ads", _midnight(now) - DAY, _midnight(now))
        return np.bincount([_bucket(row["time"]) for row in rows], minlength=BUCKETS).astype(np.float64)

    def note(self, request_id: str, person: str | None, answer: Answer, now: float) -> None:
        """An answer that this worker gives now."""
        items = [_logged(item.ad) for item in answer.items if item.ad]
        with self._lock:
            self._turn(now)
            self._count(request_id, person, items, now)
            for offer in answer.offers:
                self._places[offer.campaign_id].append(offer)

    def spent(self, campaign: str, now: float) -> float:
        """What clicks have cost a campaign on the day of ``now``."""
        return self._day.spent.get(campaign, 0.0) if self._day.number == int(now // DAY) else 0.0

    def seen(self, person: str, now: float) -> Mapping[str, int]:
        """How often somebody was shown each ad on the day of ``now``."""
        return self._day.seen.get(person, {}) if self._day.number == int(now // DAY) else {}

    def pace(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """Solved anew at most once a second."""
        if not np.isfinite(budget):
            return 1.0, 1.0
        solved, found = self._paces.get(campaign, (-np.inf, Pace()))
        if now - solved > _SOLVED_EVERY:
            with self._lock:
                found = self._solve(campaign, budget, now)
                self._paces[campaign] = (now, found)
        return found.multiplier, found.share

    def correction(self, ad: str, now: float) -> float:
        """(clicks + prior) / (expected clicks + prior), both fading."""
        moment, expected, clicks = self._expected.get(ad, (now, 0.0, 0.0))
        fade = float(np.exp(-max(0.0, now - moment) / _FADES))
        return (clicks * fade + _PRIOR) / (expected * fade + _PRIOR)

    def _solve(self, campaign: str, budget: float, now: float) -> Pace:
        places = self._places.get(campaign)
        left = budget - self.spent(campaign, now)
        if not places or left <= 0:
            return Pace() if left > 0 else Pace(0.0, 0.0)
        expected = coming(self._yesterday, self._day.asked, now - _midnight(now))
        ratio, spend = np.array([(offer.ratio, offer.spend) for offer in places]).T
        return pace(ratio, spend, left / expected)

    def _turn(self, now: float) -> None:
        """A new day begins with nothing spent and nothing seen."""
        if (number := int(now // DAY)) != self._day.number:
            self._yesterday = self._day.asked if number == self._day.number + 1 else np.zeros(BUCKETS)
            self._day = _Day(number)
            self._known = {r: t for r, t in self._known.items() if t >= _midnight(now) - _LATE}
            self._charged = {c for c in self._charged if c[0] in self._known}

    def _count(self, request_id: str, person: str | None, items: Iterable[Mapping[str, Any]], time: float) -> None:
        if request_id in self._known or int(time // DAY) != self._day.number:
            return
        self._known[request_id] = time
        self._day.asked[_bucket(time)] += 1
        for item in items:
            if person:
                self._day.seen[person][item["ad_id"]] += 1
            self._expect(item["ad_id"], time, item["click_chance"], 0.0)

    def _charge(self, click: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> None:
        for item in items:
            key = (click["request_id"], item.get("ad_id", ""))
            if item["product_id"] != click.get("product_id") or not key[1] or key in self._charged:
                continue
            self._charged.add(key)
            self._expect(item["ad_id"], click["time"], 0.0, 1.0)
            if int(click["time"] // DAY) == self._day.number:
                campaign = item["campaign_id"]
                left = self._budgets.get(campaign, np.inf) - self._day.spent[campaign]
                self._day.spent[campaign] += max(0.0, min(float(item["price"]), left))

    def _expect(self, ad: str, now: float, expected: float, clicks: float) -> None:
        moment, before, clicked = self._expected.get(ad, (now, 0.0, 0.0))
        fade = float(np.exp(-max(0.0, now - moment) / _FADES))
        self._expected[ad] = (max(now, moment), before * fade + expected, clicked * fade + clicks)


def _logged(ad: Any) -> dict[str, Any]:
    return {"ad_id": ad.ad_id, "campaign_id": ad.campaign_id, "price": ad.price, "click_chance": ad.click_chance}


def _bucket(moment: float) -> int:
    return min(int((moment - _midnight(moment)) / DAY * BUCKETS), BUCKETS - 1)


def _midnight(now: float) -> float:
    return now // DAY * DAY
