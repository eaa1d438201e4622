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
from vetrina.core.types import Answer, AuctionEntry
from vetrina.scenarios.ads.pacing import BUCKETS_PER_DAY, Pace, expected_slots, solve_pace
from vetrina.store import event_log

_MAX_OFFERS_PER_CAMPAIGN = 2_000
_PACE_INTERVAL_SECONDS = 1.0
_PRIOR_CLICKS, _DECAY_SECONDS = (
    5.0,
    6 * 3_600.0,
)  # expected clicks that a correction is drawn to 1 by; how fast they are forgotten
_MAX_LOG_DELAY_SECONDS = 2.0


class _DailyAccount:
    """One day's account."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests_by_bucket = np.zeros(BUCKETS_PER_DAY)
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.impressions: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))


class StoredSpendLedger:
    """``core.protocols.SpendLedger`` over the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._day = _DailyAccount(-1)
        self._yesterday_requests = np.zeros(BUCKETS_PER_DAY)
        self._budgets: dict[str, float] = {}
        self._counted_requests: dict[str, float] = {}  # requests whose exposure was counted, and when
        self._charged_clicks: set[tuple[str, str]] = set()
        self._last_event_number = 0
        self._last_exposure_time = 0.0
        self._click_statistics: dict[
            str, tuple[float, float, float]
        ] = {}  # ad: moment, expected clicks, clicks, both fading
        self._recent_offers: defaultdict[str, deque[AuctionEntry]] = defaultdict(
            lambda: deque(maxlen=_MAX_OFFERS_PER_CAMPAIGN)
        )
        self._paces: dict[str, tuple[float, Pace]] = {}

    def refresh(self, budgets: Mapping[str, float]) -> None:
        """Take in what the logs gained. ``budgets`` of the campaigns that run; nothing is read while none does."""
        self._budgets = dict(budgets)
        if not budgets:
            return
        now = clock.now()
        since = max(self._last_exposure_time - _MAX_LOG_DELAY_SECONDS, _day_start(now))
        exposures = event_log.list_answers(self._engine, "ads", since, now + DAY, with_items=True)
        clicks, last = event_log.ad_clicks(self._engine, self._last_event_number, _day_start(now))
        answers = event_log.items_by_request_id(self._engine, {c["request_id"] for c in clicks})
        yesterday = self._load_yesterday_requests(now) if self._day.number < 0 else None
        with self._lock:
            self._start_day_if_new(now)
            if yesterday is not None:
                self._yesterday_requests = yesterday
            for row in exposures:
                self._last_exposure_time = max(self._last_exposure_time, row["time"])
                self._count_impressions(row["request_id"], row["user"] or row["session"], row["items"], row["time"])
            self._last_event_number = last
            for click in clicks:
                self._charge_click(click, answers.get(click["request_id"], ()))

    def _load_yesterday_requests(self, now: float) -> NDArray[np.float64]:
        """Answers of the day before, by bucket, for a worker that has just begun."""
        rows = event_log.list_answers(self._engine, "ads", _day_start(now) - DAY, _day_start(now))
        return np.bincount([_bucket(row["time"]) for row in rows], minlength=BUCKETS_PER_DAY).astype(np.float64)

    def record_answer(self, request_id: str, user_or_session: str | None, answer: Answer, now: float) -> None:
        """An answer that this worker gives now."""
        items = [_ad_row(item.ad) for item in answer.items if item.ad]
        with self._lock:
            self._start_day_if_new(now)
            self._count_impressions(request_id, user_or_session, items, now)
            for offer in answer.offers:
                self._recent_offers[offer.campaign_id].append(offer)

    def daily_spend(self, campaign: str, now: float) -> float:
        """What clicks have cost a campaign on the day of ``now``."""
        return self._day.spent.get(campaign, 0.0) if self._day.number == int(now // DAY) else 0.0

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """How often somebody was shown each ad on the day of ``now``."""
        return self._day.impressions.get(user_or_session, {}) if self._day.number == int(now // DAY) else {}

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """Solved anew at most once a second."""
        if not np.isfinite(budget):
            return 1.0, 1.0
        solved, found = self._paces.get(campaign, (-np.inf, Pace()))
        if now - solved > _PACE_INTERVAL_SECONDS:
            with self._lock:
                found = self._solve_campaign_pace(campaign, budget, now)
                self._paces[campaign] = (now, found)
        return found.multiplier, found.participation_share

    def click_correction(self, ad: str, now: float) -> float:
        """(clicks + prior) / (expected clicks + prior), both fading."""
        moment, expected, clicks = self._click_statistics.get(ad, (now, 0.0, 0.0))
        fade = float(np.exp(-max(0.0, now - moment) / _DECAY_SECONDS))
        return (clicks * fade + _PRIOR_CLICKS) / (expected * fade + _PRIOR_CLICKS)

    def _solve_campaign_pace(self, campaign: str, budget: float, now: float) -> Pace:
        places = self._recent_offers.get(campaign)
        left = budget - self.daily_spend(campaign, now)
        if not places or left <= 0:
            return Pace() if left > 0 else Pace(0.0, 0.0)
        expected = expected_slots(self._yesterday_requests, self._day.requests_by_bucket, now - _day_start(now))
        ratio, spend = np.array([(offer.min_winning_multiplier, offer.expected_spend) for offer in places]).T
        return solve_pace(ratio, spend, left / expected)

    def _start_day_if_new(self, now: float) -> None:
        """A new day begins with nothing spent and nothing seen."""
        if (number := int(now // DAY)) != self._day.number:
            self._yesterday_requests = (
                self._day.requests_by_bucket if number == self._day.number + 1 else np.zeros(BUCKETS_PER_DAY)
            )
            self._day = _DailyAccount(number)
            self._counted_requests = {
                r: t for r, t in self._counted_requests.items() if t >= _day_start(now) - _MAX_LOG_DELAY_SECONDS
            }
            self._charged_clicks = {c for c in self._charged_clicks if c[0] in self._counted_requests}

    def _count_impressions(
        self, request_id: str, user_or_session: str | None, items: Iterable[Mapping[str, Any]], time: float
    ) -> None:
        if request_id in self._counted_requests or int(time // DAY) != self._day.number:
            return
        self._counted_requests[request_id] = time
        self._day.requests_by_bucket[_bucket(time)] += 1
        for item in items:
            if user_or_session:
                self._day.impressions[user_or_session][item["ad_id"]] += 1
            self._update_click_statistics(item["ad_id"], time, item["click_chance"], 0.0)

    def _charge_click(self, click: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> None:
        for item in items:
            key = (click["request_id"], item.get("ad_id", ""))
            if item["product_id"] != click.get("product_id") or not key[1] or key in self._charged_clicks:
                continue
            self._charged_clicks.add(key)
            self._update_click_statistics(item["ad_id"], click["time"], 0.0, 1.0)
            if int(click["time"] // DAY) == self._day.number:
                campaign = item["campaign_id"]
                left = self._budgets.get(campaign, np.inf) - self._day.spent[campaign]
                self._day.spent[campaign] += max(0.0, min(float(item["price"]), left))

    def _update_click_statistics(self, ad: str, now: float, expected: float, clicks: float) -> None:
        moment, before, clicked = self._click_statistics.get(ad, (now, 0.0, 0.0))
        fade = float(np.exp(-max(0.0, now - moment) / _DECAY_SECONDS))
        self._click_statistics[ad] = (max(now, moment), before * fade + expected, clicked * fade + clicks)


def _ad_row(ad: Any) -> dict[str, Any]:
    return {"ad_id": ad.ad_id, "campaign_id": ad.campaign_id, "price": ad.price, "click_chance": ad.click_chance}


def _bucket(moment: float) -> int:
    return min(int((moment - _day_start(moment)) / DAY * BUCKETS_PER_DAY), BUCKETS_PER_DAY - 1)


def _day_start(now: float) -> float:
    return now // DAY * DAY
