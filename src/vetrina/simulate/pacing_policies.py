"""One campaign on a day of auctions, and several ways to make its budget last; the best possible is known afterwards.

A place is worth something to the campaign and costs what the next bidder would have paid. A way sees of each place its worth
before it bids and its price afterwards.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.scenarios.ads.pacing import BUCKETS_PER_DAY, expected_slots, solve_pace

Floats = NDArray[np.float64]
MAX_PRICE_PER_VALUE = 3.0  # what the campaign would pay for a unit of worth if its budget had no end
_MAX_RECENT_SLOTS = 2_000
_SOLVE_INTERVAL_SECONDS = 30.0
_SHOCK_SECOND = 14 * 3_600.0


@dataclass(frozen=True)
class AuctionDay:
    """Places by time: ``time`` in seconds of the day, ``worth`` and ``cost`` of each, all (n,)."""

    time: Floats
    value: Floats
    cost: Floats

    @property
    def slots_per_bucket(self) -> Floats:
        """(BUCKETS,) places by five minutes."""
        return np.histogram(self.time, np.linspace(0, DAY, BUCKETS_PER_DAY + 1))[0].astype(np.float64)


@dataclass(frozen=True)
class PacingResult:
    """What a way made of a day."""

    value: float
    spent: float


def simulate_day(seed: int, n_slots: int = 20_000, *, shock: bool = False) -> AuctionDay:
    """The rhythm of a shop's day; with a ``shock`` at two in the afternoon two and a half times the traffic, 40 % dearer."""
    rng = np.random.default_rng(seed)
    second = np.arange(0.0, DAY, 60.0)
    hour = second / 3_600.0
    rhythm = np.maximum(1 + 0.7 * np.sin((hour - 9) / 12 * np.pi) + 0.3 * np.sin((hour - 4) / 6 * np.pi), 0.1)
    more = np.where((second > _SHOCK_SECOND) & shock, 2.5, 1.0)
    counts = rng.poisson(more * rhythm / rhythm.sum() * n_slots)
    time = np.sort(np.repeat(second, counts) + 60.0 * rng.random(int(counts.sum())))
    worth = rng.lognormal(0.0, 0.7, len(time))
    cost = np.sqrt(worth) * rng.lognormal(-0.3, 0.6, len(time))
    return AuctionDay(time, worth, np.where((time > _SHOCK_SECOND) & shock, 1.4 * cost, cost))


def optimal_value(auction_day: AuctionDay, budget: float) -> float:
    """The most that the budget could have bought: the knapsack with fractions, by worth over cost."""
    order = np.argsort(auction_day.cost / auction_day.value)
    spent = np.cumsum(auction_day.cost[order])
    whole = int(np.searchsorted(spent, budget, "right"))
    worth = float(auction_day.value[order[:whole]].sum())
    if whole == len(order):
        return worth
    left = budget - (float(spent[whole - 1]) if whole else 0.0)
    return worth + left / float(auction_day.cost[order[whole]]) * float(auction_day.value[order[whole]])


def no_pacing(today: AuctionDay, yesterday: AuctionDay, budget: float) -> PacingResult:
    """Buys whatever is worth its price until the money is gone."""
    return _bid_through_day(today, budget, lambda at, left: 1.0)


def throttling(today: AuctionDay, yesterday: AuctionDay, budget: float, seed: int = 0) -> PacingResult:
    """Takes part by a lot whose chance follows the plan of yesterday's traffic (Agarwal, Ghosh, Wei and You 2014)."""
    rng = np.random.default_rng(seed)
    chance = [0.2]

    def bid(at: int, left: float) -> float:
        if at % 50 == 0:
            behind = budget - left < _planned_spend(yesterday, budget, float(today.time[at]))
            chance[0] = float(np.clip(chance[0] * (1.1 if behind else 0.9), 0.001, 1.0))
        return float(rng.random() < chance[0])

    return _bid_through_day(today, budget, bid)


def pid_control(today: AuctionDay, yesterday: AuctionDay, budget: float) -> PacingResult:
    """A controller with proportional, integral and differential part on what was spent beside the plan of yesterday's traffic."""
    total = [0.0]
    last = [0.0]

    def bid(at: int, left: float) -> float:
        error = (_planned_spend(yesterday, budget, float(today.time[at])) - (budget - left)) / budget
        total[0] = total[0] + error / len(yesterday.time)
        change = error - last[0]
        last[0] = error
        return float(np.exp(np.clip(-1.2 + 20 * error + 20 * total[0] + 5 * change, -6.0, 0.0)))

    return _bid_through_day(today, budget, bid)


def dual_descent(today: AuctionDay, yesterday: AuctionDay, budget: float, step: float = 0.005) -> PacingResult:
    """One step of the price of budget a place, towards an equal part of the budget for each place of a day like yesterday
    (Balseiro, Lu and Mirrokni 2023)."""
    rate = budget / len(yesterday.time)
    price = [1.2]
    had = [budget]

    def bid(at: int, left: float) -> float:
        price[0] = float(np.clip(price[0] - step * (rate - (had[0] - left)), 0.0, 20.0))
        had[0] = left
        return 1.0 / (1.0 + price[0])

    return _bid_through_day(today, budget, bid)


def re_solved_dual(today: AuctionDay, yesterday: AuctionDay, budget: float) -> PacingResult:
    """What campaigns of Vetrina do: the dual over the places of late, solved anew for what is left."""
    ratio = deque(
        (yesterday.cost / (MAX_PRICE_PER_VALUE * yesterday.value))[-_MAX_RECENT_SLOTS:].tolist(), _MAX_RECENT_SLOTS
    )
    spend = deque(yesterday.cost[-_MAX_RECENT_SLOTS:].tolist(), _MAX_RECENT_SLOTS)
    counted = np.zeros(BUCKETS_PER_DAY)
    known = yesterday.slots_per_bucket
    solved = [-np.inf]
    multiplier = [1.0]

    def bid(at: int, left: float) -> float:
        now = float(today.time[at])
        if now - solved[0] > _SOLVE_INTERVAL_SECONDS:
            found = solve_pace(np.array(ratio), np.array(spend), left / expected_slots(known, counted, now))
            multiplier[0] = found.multiplier
            solved[0] = now
        counted[min(int(now / DAY * BUCKETS_PER_DAY), BUCKETS_PER_DAY - 1)] += 1
        ratio.append(float(today.cost[at] / (MAX_PRICE_PER_VALUE * today.value[at])))
        spend.append(float(today.cost[at]))
        return multiplier[0]

    return _bid_through_day(today, budget, bid)


def _planned_spend(yesterday: AuctionDay, budget: float, now: float) -> float:
    """What should be spent by a moment, if today were as yesterday."""
    return budget * float(np.searchsorted(yesterday.time, now)) / len(yesterday.time)


def _bid_through_day(today: AuctionDay, budget: float, bid: Callable[[int, float], float]) -> PacingResult:
    """``bid`` says by what the campaign multiplies the most that it would pay, for the place at a row with so much left."""
    left = budget
    worth = 0.0
    for at, (value, cost) in enumerate(zip(today.value.tolist(), today.cost.tolist(), strict=True)):
        if bid(at, left) * MAX_PRICE_PER_VALUE * value > cost and cost <= left:
            left = left - cost
            worth = worth + value
    return PacingResult(worth, budget - left)


PACING_POLICIES = {
    "no pacing": no_pacing,
    "throttling": throttling,
    "PID": pid_control,
    "dual descent, a step a place": dual_descent,
    "dual, solved anew": re_solved_dual,
}
