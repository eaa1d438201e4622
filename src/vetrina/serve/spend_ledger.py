"""Spend ledger of ad campaigns: today's spend, impressions and pacing, computed from the logs.

Workers that have read the same logs compute the same state. A click costs the price that was logged with its answer, at most
what is left of the day's budget, and once however often it is repeated; so no budget is ever overspent, whichever worker
crashes. It is charged only if it comes from the visitor whom the answer was shown to, soon enough by the server's clock, and if
neither the visitor nor the address has used up the clicks of a day. Budgets hold for a day in UTC. Impressions of this worker
count at once, those of other workers as soon as they are in the log of exposures.
"""

import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from vetrina.core import clock
from vetrina.core.clock import DAY
from vetrina.core.exposures import Exposure
from vetrina.core.recent_keys import RecentKeys
from vetrina.core.types import AdPlacement, AuctionEntry
from vetrina.scenarios.base import charging_scenarios
from vetrina.serve.pacing import BUCKETS_PER_DAY, Pace, expected_slots, solve_pace
from vetrina.store import event_queries, exposure_queries
from vetrina.store.event_queries import AdClick

_MAX_OFFERS_PER_CAMPAIGN = 2_000  # most recent auctions that a pace is solved on
_PACE_INTERVAL_SECONDS = 1.0  # between two solutions of a campaign's pace
_PRIOR_CLICKS = 5.0  # expected clicks by which a click correction is shrunk to 1
_DECAY_SECONDS = 6 * 3_600.0  # time constant of the exponential decay of expected and observed clicks
_MAX_LOG_DELAY_SECONDS = 2.0  # by how much exposures may enter the log out of order
_MAX_CLICK_DELAY_SECONDS = DAY  # from an answer to a click that is charged; training joins clicks and impressions alike
_MAX_CLOCK_SKEW_SECONDS = 60.0  # by which the clocks of two workers may differ
# Charged clicks of one visitor, and of one address that sends without the token, in a day. The most that a household of
# Complete Journey clicked in a day is 19.
_MAX_DAILY_CLICKS = 20
_MAX_COUNTED_REQUESTS = 100_000  # that are remembered; the log repeats the requests of a few seconds
_MAX_VISITORS = 100_000  # whose impressions of a day are counted
_KEPT_DAYS = 2


class _DailyAccount:
    """Spend, charged clicks, impressions and requests of one day in UTC."""

    def __init__(self) -> None:
        self.requests_by_bucket = np.zeros(BUCKETS_PER_DAY)
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.charged_clicks: set[tuple[str, str]] = set()  # request id, ad id
        self.clicks_by_sender: Counter[str] = Counter()  # of visitors and addresses
        self.impressions: OrderedDict[str, Counter[str]] = OrderedDict()  # by visitor; the latest visitors only

    def count_impression(self, visitor: str, ad: str) -> None:
        """Count an ad that a visitor saw."""
        counts = self.impressions.setdefault(visitor, Counter())
        counts[ad] += 1
        self.impressions.move_to_end(visitor)
        if len(self.impressions) > _MAX_VISITORS:
            self.impressions.popitem(last=False)


_NO_REQUESTS = _DailyAccount()


class StoredSpendLedger:
    """``core.protocols.SpendLedger``, computed from the exposures and events in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scenarios = charging_scenarios()
        self._lock = threading.Lock()
        self._days: OrderedDict[int, _DailyAccount] = OrderedDict()  # by days since 1970; the one used last is last
        self._budgets: dict[str, float] = {}
        self._counted_requests = RecentKeys(_MAX_COUNTED_REQUESTS)
        self._has_read = False
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
        last_time = min(self._last_exposure_time, now)  # a clock set back must not hide what is shown from now on
        since = max(last_time - _MAX_LOG_DELAY_SECONDS, _day_start(now))
        exposures = self._list_exposures(since, now + DAY)
        # A click of yesterday must not be charged again today.
        clicks, last_event_number = event_queries.ad_clicks(
            self._engine, self._last_event_number, _day_start(now) - DAY
        )
        clicked_requests = {click.request_id for click in clicks}
        answers = exposure_queries.exposures_by_request_id(self._engine, clicked_requests)
        yesterday_requests = None
        if not self._has_read:
            yesterday_requests = self._load_yesterday_requests(now)
        with self._lock:
            if yesterday_requests is not None:
                self._account(_day_number(now) - 1).requests_by_bucket = yesterday_requests
            self._has_read = True
            for exposure in exposures:
                self._last_exposure_time = max(self._last_exposure_time, exposure.time)
                ads = [item.ad for item in exposure.items if item.ad is not None]
                self._count_impressions(exposure.request_id, exposure.unit, ads, exposure.time)
            self._last_event_number = last_event_number
            for click in clicks:
                answer = answers.get(click.request_id)
                if answer is not None and self._may_charge(click, answer):
                    self._charge_click(click, answer)
            self._account(_day_number(now))

    def _list_exposures(self, since: float, until: float, *, with_items: bool = True) -> list[Exposure]:
        """Logged answers on which clicks are paid for, in (``since``, ``until``]."""
        exposures: list[Exposure] = []
        for scenario in self._scenarios:
            exposures += exposure_queries.list_exposures(self._engine, scenario, since, until, with_items=with_items)
        return exposures

    def _may_charge(self, click: AdClick, answer: Exposure) -> bool:
        is_paid_for = answer.scenario in self._scenarios
        return is_paid_for and _is_from_visitor(click, answer) and _is_in_time(click, answer)

    def _account(self, day_number: int) -> _DailyAccount:
        """The account of a day. Of the days used last the newest ones are kept, so that a clock set back forgets nothing."""
        account = self._days.setdefault(day_number, _DailyAccount())
        self._days.move_to_end(day_number)
        if len(self._days) > _KEPT_DAYS:
            self._days.popitem(last=False)
        return account

    def _load_yesterday_requests(self, now: float) -> NDArray[np.float64]:
        """Requests of the day before, by bucket of the day, for a worker that has just started."""
        exposures = self._list_exposures(_day_start(now) - DAY, _day_start(now), with_items=False)
        buckets = [_bucket(exposure.time) for exposure in exposures]
        return np.bincount(buckets, minlength=BUCKETS_PER_DAY).astype(np.float64)

    def record_answer(self, exposure: Exposure, offers: Iterable[AuctionEntry]) -> None:
        """Count an answer of this worker.

        Args:
            exposure: its items are impressions; frequency caps count them by user or session.
            offers: the ads that took part in its auction, which the pace of a campaign is solved on.
        """
        ads = [item.ad for item in exposure.items if item.ad is not None]
        with self._lock:
            self._count_impressions(exposure.request_id, exposure.unit, ads, exposure.time)
            for offer in offers:
                self._recent_offers[offer.campaign_id].append(offer)

    def daily_spend(self, campaign: str, now: float) -> float:
        """The cost of a campaign's clicks on the day of ``now``, in the currency of its bids."""
        account = self._days.get(_day_number(now))
        if account is None:
            return 0.0
        return account.spent.get(campaign, 0.0)

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """Impressions by ad of a user or session on the day of ``now``."""
        account = self._days.get(_day_number(now))
        if account is None:
            return {}
        return dict(account.impressions.get(user_or_session, {}))

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
        if abs(now - solved_at) > _PACE_INTERVAL_SECONDS:
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
        today = self._days.get(_day_number(now), _NO_REQUESTS)
        yesterday = self._days.get(_day_number(now) - 1, _NO_REQUESTS)
        n_expected = expected_slots(yesterday.requests_by_bucket, today.requests_by_bucket, now - _day_start(now))
        pairs = [(offer.min_winning_multiplier, offer.expected_spend) for offer in offers]
        min_winning_multiplier, expected_spend = np.array(pairs).T
        return solve_pace(min_winning_multiplier, expected_spend, remaining_budget / n_expected)

    def _count_impressions(self, request_id: str, visitor: str | None, ads: Iterable[AdPlacement], time: float) -> None:
        """Count a request and the impressions of its ads on the day of its answer, once."""
        if request_id in self._counted_requests:
            return
        self._counted_requests.add(request_id)
        account = self._account(_day_number(time))
        account.requests_by_bucket[_bucket(time)] += 1
        for ad in ads:
            if visitor:
                account.count_impression(visitor, ad.ad_id)
            self._update_click_statistics(ad.ad_id, time, ad.click_chance, 0.0)

    def _charge_click(self, click: AdClick, answer: Exposure) -> None:
        """Charge a click to the campaign of the ad that it is on, once, and at most what is left of the day's budget.

        The day is that of its arrival.
        """
        account = self._account(_day_number(click.arrived))
        senders = _clicking_senders(click, answer)
        if any(account.clicks_by_sender[sender] >= _MAX_DAILY_CLICKS for sender in senders):
            return
        for item in answer.items:
            ad = item.ad
            if ad is None or item.product_id != click.product_id or self._is_charged((click.request_id, ad.ad_id)):
                continue
            account.charged_clicks.add((click.request_id, ad.ad_id))
            account.clicks_by_sender.update(senders)
            if click.request_id in self._counted_requests:  # so are the clicks that were expected of it
                self._update_click_statistics(ad.ad_id, click.arrived, 0.0, 1.0)
            remaining_budget = self._budgets.get(ad.campaign_id, np.inf) - account.spent[ad.campaign_id]
            price = min(ad.price, remaining_budget)
            account.spent[ad.campaign_id] += max(0.0, price)

    def _is_charged(self, click: tuple[str, str]) -> bool:
        return any(click in account.charged_clicks for account in self._days.values())

    def _update_click_statistics(self, ad: str, now: float, new_expected_clicks: float, new_clicks: float) -> None:
        updated_at, expected_clicks, clicks = self._click_statistics.get(ad, (now, 0.0, 0.0))
        decay = _decay(now - updated_at)
        expected_clicks = expected_clicks * decay + new_expected_clicks
        clicks = clicks * decay + new_clicks
        self._click_statistics[ad] = (max(now, updated_at), expected_clicks, clicks)


def _is_from_visitor(click: AdClick, answer: Exposure) -> bool:
    """Whether a click comes from the user or the session that the answer was shown to."""
    is_same_user = answer.user is not None and click.user == answer.user
    is_same_session = answer.session is not None and click.session == answer.session
    return is_same_user or is_same_session


def _is_in_time(click: AdClick, answer: Exposure) -> bool:
    """Whether a click arrived soon enough after its answer; what the sender says about its time is not looked at."""
    delay_seconds = click.arrived - answer.time
    return -_MAX_CLOCK_SKEW_SECONDS <= delay_seconds <= _MAX_CLICK_DELAY_SECONDS


def _clicking_senders(click: AdClick, answer: Exposure) -> list[str]:
    """Pseudonyms whose clicks of a day are limited: the visitor, and the address of a click without the token."""
    return [sender for sender in (answer.unit, click.sender) if sender is not None]


def _decay(seconds: float) -> float:
    """The share of a click that is left after some seconds; 1 for a negative time."""
    return float(np.exp(-max(0.0, seconds) / _DECAY_SECONDS))


def _bucket(moment: float) -> int:
    """The bucket of the day, from 0, that a moment falls into."""
    share_of_day = (moment - _day_start(moment)) / DAY
    return min(int(share_of_day * BUCKETS_PER_DAY), BUCKETS_PER_DAY - 1)


def _day_number(moment: float) -> int:
    """Days since 1970."""
    return int(moment // DAY)


def _day_start(now: float) -> float:
    return now // DAY * DAY
