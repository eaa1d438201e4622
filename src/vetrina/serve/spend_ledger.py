"""Spend ledger of ad campaigns: today's spend, impressions and pacing, computed from the logs.

Workers that have read the same logs compute the same state. A click costs the price that was logged with its answer, at most
what is left of the day's budget, and once however often it is repeated; so no budget is ever overspent, whichever worker
crashes. Budgets hold for a day in UTC. Impressions of this worker count at once, those of other workers as soon as they are in
the log of exposures.
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

_MAX_OFFERS_PER_CAMPAIGN = 2_000  # most recent auctions that a pace is solved on
_PACE_INTERVAL_SECONDS = 1.0  # between two solutions of a campaign's pace
_PRIOR_CLICKS = 5.0  # expected clicks by which a click correction is shrunk to 1
_DECAY_SECONDS = 6 * 3_600.0  # time constant of the exponential decay of expected and observed clicks
_MAX_LOG_DELAY_SECONDS = 2.0  # by how much exposures may enter the log out of order
_NO_DAY = -1  # number of the day of a ledger that has not read anything yet


class _DailyAccount:
    """Spend, impressions and requests of one day in UTC; ``number`` counts days since 1970."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests_by_bucket = np.zeros(BUCKETS_PER_DAY)
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.impressions: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))


class StoredSpendLedger:
    """``core.protocols.SpendLedger``, computed from the exposures and events in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._day = _DailyAccount(_NO_DAY)
        self._yesterday_requests = np.zeros(BUCKETS_PER_DAY)
        self._budgets: dict[str, float] = {}
        self._counted_requests: dict[str, float] = {}  # request id: time of its exposure
        self._charged_clicks: set[tuple[str, str]] = set()  # request id, ad id
        self._last_event_number = 0
        self._last_exposure_time = 0.0
        # ad id: time of the last update, expected clicks and clicks, both exponentially decayed up to that time
        self._click_statistics: dict[str, tuple[float, float, float]] = {}
        self._recent_offers: defaultdict[str, deque[AuctionEntry]] = defaultdict(
            lambda: deque(maxlen=_MAX_OFFERS_PER_CAMPAIGN)
        )
        self._paces: dict[str, tuple[float, Pace]] = {}  # campaign id: when it was solved, the pace

    def refresh(self, budgets: Mapping[str, float]) -> None:
        """Read the new exposures and clicks.

        Args:
            budgets: daily budget by campaign. Nothing is read while there is no campaign.
        """
        self._budgets = dict(budgets)
        if not budgets:
            return
        now = clock.now()
        since = max(self._last_exposure_time - _MAX_LOG_DELAY_SECONDS, _day_start(now))
        exposures = event_log.list_answers(self._engine, "ads", since, now + DAY, with_items=True)
        clicks, last_event_number = event_log.ad_clicks(self._engine, self._last_event_number, _day_start(now))
        items_by_request_id = event_log.items_by_request_id(self._engine, {click["request_id"] for click in clicks})
        yesterday_requests = None
        if self._day.number < 0:
            yesterday_requests = self._load_yesterday_requests(now)
        with self._lock:
            self._start_day_if_new(now)
            if yesterday_requests is not None:
                self._yesterday_requests = yesterday_requests
            for exposure in exposures:
                time = exposure["time"]
                self._last_exposure_time = max(self._last_exposure_time, time)
                user_or_session = exposure["user"] or exposure["session"]
                self._count_impressions(exposure["request_id"], user_or_session, exposure["items"], time)
            self._last_event_number = last_event_number
            for click in clicks:
                self._charge_click(click, items_by_request_id.get(click["request_id"], ()))

    def _load_yesterday_requests(self, now: float) -> NDArray[np.float64]:
        """Requests of the day before, by bucket of the day, for a worker that has just started."""
        rows = event_log.list_answers(self._engine, "ads", _day_start(now) - DAY, _day_start(now))
        buckets = [_bucket(row["time"]) for row in rows]
        return np.bincount(buckets, minlength=BUCKETS_PER_DAY).astype(np.float64)

    def record_answer(self, request_id: str, user_or_session: str | None, answer: Answer, now: float) -> None:
        """Count an answer of this worker.

        Args:
            request_id: the id that its exposure will have in the log.
            user_or_session: the pseudonym that frequency caps count by, None for neither.
            answer: its items are impressions, its offers are what the pace of a campaign is solved on.
            now: seconds since 1970.
        """
        items = [_ad_row(item.ad) for item in answer.items if item.ad]
        with self._lock:
            self._start_day_if_new(now)
            self._count_impressions(request_id, user_or_session, items, now)
            for offer in answer.offers:
                self._recent_offers[offer.campaign_id].append(offer)

    def daily_spend(self, campaign: str, now: float) -> float:
        """The cost of a campaign's clicks on the day of ``now``, in the currency of its bids."""
        if self._day.number != _day_number(now):
            return 0.0
        return self._day.spent.get(campaign, 0.0)

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """Impressions by ad of a user or session on the day of ``now``."""
        if self._day.number != _day_number(now):
            return {}
        return self._day.impressions.get(user_or_session, {})

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """Bid multiplier and participation share of a campaign, solved anew at most once a second.

        Args:
            campaign: id of the campaign.
            budget: its daily budget, infinite for none.
            now: seconds since 1970.
        """
        if not np.isfinite(budget):
            return 1.0, 1.0
        solved_at, pace = self._paces.get(campaign, (-np.inf, Pace()))
        if now - solved_at > _PACE_INTERVAL_SECONDS:
            with self._lock:
                pace = self._solve_campaign_pace(campaign, budget, now)
                self._paces[campaign] = (now, pace)
        return pace.multiplier, pace.participation_share

    def click_correction(self, ad: str, now: float) -> float:
        """(clicks + prior) / (expected clicks + prior), both exponentially decayed: a factor on the click probability."""
        updated_at, expected_clicks, clicks = self._click_statistics.get(ad, (now, 0.0, 0.0))
        decay = _decay(now - updated_at)
        return (clicks * decay + _PRIOR_CLICKS) / (expected_clicks * decay + _PRIOR_CLICKS)

    def _solve_campaign_pace(self, campaign: str, budget: float, now: float) -> Pace:
        """No pacing without recent offers, no participation without budget; else the pace that makes the budget last."""
        offers = self._recent_offers.get(campaign)
        remaining_budget = budget - self.daily_spend(campaign, now)
        if remaining_budget <= 0:
            return Pace(0.0, 0.0)
        if not offers:
            return Pace()
        n_expected = expected_slots(self._yesterday_requests, self._day.requests_by_bucket, now - _day_start(now))
        pairs = [(offer.min_winning_multiplier, offer.expected_spend) for offer in offers]
        min_winning_multiplier, expected_spend = np.array(pairs).T
        return solve_pace(min_winning_multiplier, expected_spend, remaining_budget / n_expected)

    def _start_day_if_new(self, now: float) -> None:
        """A new day starts without spend and impressions."""
        number = _day_number(now)
        if number == self._day.number:
            return
        if number == self._day.number + 1:
            self._yesterday_requests = self._day.requests_by_bucket
        else:
            self._yesterday_requests = np.zeros(BUCKETS_PER_DAY)
        self._day = _DailyAccount(number)
        oldest = _day_start(now) - _MAX_LOG_DELAY_SECONDS
        self._counted_requests = {
            request_id: time for request_id, time in self._counted_requests.items() if time >= oldest
        }
        self._charged_clicks = {
            (request_id, ad) for request_id, ad in self._charged_clicks if request_id in self._counted_requests
        }

    def _count_impressions(
        self, request_id: str, user_or_session: str | None, items: Iterable[Mapping[str, Any]], time: float
    ) -> None:
        """Count a request of today and the impressions of its ads, once."""
        if request_id in self._counted_requests or _day_number(time) != self._day.number:
            return
        self._counted_requests[request_id] = time
        self._day.requests_by_bucket[_bucket(time)] += 1
        for item in items:
            if user_or_session:
                self._day.impressions[user_or_session][item["ad_id"]] += 1
            self._update_click_statistics(item["ad_id"], time, item["click_chance"], 0.0)

    def _charge_click(self, click: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> None:
        """Charge a click to the campaign of the ad that it is on, once, and at most what is left of today's budget."""
        for item in items:
            ad = item.get("ad_id", "")
            key = (click["request_id"], ad)
            if item["product_id"] != click.get("product_id") or not ad or key in self._charged_clicks:
                continue
            self._charged_clicks.add(key)
            self._update_click_statistics(ad, click["time"], 0.0, 1.0)
            if _day_number(click["time"]) == self._day.number:
                campaign = item["campaign_id"]
                remaining_budget = self._budgets.get(campaign, np.inf) - self._day.spent[campaign]
                price = min(float(item["price"]), remaining_budget)
                self._day.spent[campaign] += max(0.0, price)

    def _update_click_statistics(self, ad: str, now: float, new_expected_clicks: float, new_clicks: float) -> None:
        updated_at, expected_clicks, clicks = self._click_statistics.get(ad, (now, 0.0, 0.0))
        decay = _decay(now - updated_at)
        expected_clicks = expected_clicks * decay + new_expected_clicks
        clicks = clicks * decay + new_clicks
        self._click_statistics[ad] = (max(now, updated_at), expected_clicks, clicks)


def _decay(seconds: float) -> float:
    """The share of a click that is left after some seconds; 1 for a negative time."""
    return float(np.exp(-max(0.0, seconds) / _DECAY_SECONDS))


def _ad_row(ad: Any) -> dict[str, Any]:
    """The ad of an item as the log of exposures holds it."""
    return {"ad_id": ad.ad_id, "campaign_id": ad.campaign_id, "price": ad.price, "click_chance": ad.click_chance}


def _bucket(moment: float) -> int:
    """The bucket of the day, from 0, that a moment falls into."""
    share_of_day = (moment - _day_start(moment)) / DAY
    return min(int(share_of_day * BUCKETS_PER_DAY), BUCKETS_PER_DAY - 1)


def _day_number(moment: float) -> int:
    """Days since 1970."""
    return int(moment // DAY)


def _day_start(now: float) -> float:
    return now // DAY * DAY
