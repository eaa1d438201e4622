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
from vetrina.scenarios.ads.pacing import BUCKETS, coming, pace

Floats = NDArray[np.float64]
MOST_A_UNIT = 3.0  # what the campaign would pay for a unit of worth if its budget had no end
_LOOKED_AT, _SOLVED_EVERY, _SHOCK = 2_000, 30.0, 14 * 3_600.0


@dataclass(frozen=True)
class Day:
    """Places by time: ``time`` in seconds of the day, ``worth`` and ``cost`` of each, all (n,)."""

    time: Floats
    worth: Floats
    cost: Floats

    @property
    def counts(self) -> Floats:
        """(BUCKETS,) places by five minutes."""
        return np.histogram(self.time, np.linspace(0, DAY, BUCKETS + 1))[0].astype(np.float64)


@dataclass(frozen=True)
class Played:
    """What a way made of a day."""

    worth: float
    spent: float


def day(seed: int, places: int = 20_000, *, shock: bool = False) -> Day:
    """The rhythm of a shop's day; with a ``shock`` at two in the afternoon two and a half times the traffic, 40 % dearer."""
    rng, second = np.random.default_rng(seed), np.arange(0.0, DAY, 60.0)
    hour = second / 3_600.0
    rhythm = np.maximum(1 + 0.7 * np.sin((hour - 9) / 12 * np.pi) + 0.3 * np.sin((hour - 4) / 6 * np.pi), 0.1)
    more = np.where((second > _SHOCK) & shock, 2.5, 1.0)
    counts = rng.poisson(more * rhythm / rhythm.sum() * places)
    time = np.sort(np.repeat(second, counts) + 60.0 * rng.random(int(counts.sum())))
    worth = rng.lognormal(0.0, 0.7, len(time))
    cost = np.sqrt(worth) * rng.lognormal(-0.3, 0.6, len(time))
    return Day(time, worth, np.where((time > _SHOCK) & shock, 1.4 * cost, cost))


def hindsight(played: Day, budget: float) -> float:
    """The most that the budget could have bought: the knapsack with fractions, by worth over cost."""
    order = np.argsort(played.cost / played.worth)
    spent = np.cumsum(played.cost[order])
    whole = int(np.searchsorted(spent, budget, "right"))
    worth = float(played.worth[order[:whole]].sum())
    if whole == len(order):
        return worth
    left = budget - (float(spent[whole - 1]) if whole else 0.0)
    return worth + left / float(played.cost[order[whole]]) * float(played.worth[order[whole]])


def unpaced(today: Day, before: Day, budget: float) -> Played:
    """Buys whatever is worth its price until the money is gone."""
    return _play(today, budget, lambda at, left: 1.0)


def throttled(today: Day, before: Day, budget: float, seed: int = 0) -> Played:
    """Takes part by a lot whose chance follows the plan of yesterday's traffic (Agarwal, Ghosh, Wei and You 2014)."""
    rng, chance = np.random.default_rng(seed), [0.2]

    def bid(at: int, left: float) -> float:
        if at % 50 == 0:
            behind = budget - left < _planned(before, budget, float(today.time[at]))
            chance[0] = float(np.clip(chance[0] * (1.1 if behind else 0.9), 0.001, 1.0))
        return float(rng.random() < chance[0])

    return _play(today, budget, bid)


def by_pid(today: Day, before: Day, budget: float) -> Played:
    """A controller with proportional, integral and differential part on what was spent beside the plan of yesterday's traffic."""
    total, last = [0.0], [0.0]

    def bid(at: int, left: float) -> float:
        error = (_planned(before, budget, float(today.time[at])) - (budget - left)) / budget
        total[0], change, last[0] = total[0] + error / len(before.time), error - last[0], error
        return float(np.exp(np.clip(-1.2 + 20 * error + 20 * total[0] + 5 * change, -6.0, 0.0)))

    return _play(today, budget, bid)


def dual_descent(today: Day, before: Day, budget: float, step: float = 0.005) -> Played:
    """One step of the price of budget a place, towards an equal part of the budget for each place of a day like yesterday
    (Balseiro, Lu and Mirrokni 2023)."""
    rate, price, had = budget / len(before.time), [1.2], [budget]

    def bid(at: int, left: float) -> float:
        price[0] = float(np.clip(price[0] - step * (rate - (had[0] - left)), 0.0, 20.0))
        had[0] = left
        return 1.0 / (1.0 + price[0])

    return _play(today, budget, bid)


def solved_anew(today: Day, before: Day, budget: float) -> Played:
    """What campaigns of Vetrina do: the dual over the places of late, solved anew for what is left."""
    ratio = deque((before.cost / (MOST_A_UNIT * before.worth))[-_LOOKED_AT:].tolist(), _LOOKED_AT)
    spend, counted = deque(before.cost[-_LOOKED_AT:].tolist(), _LOOKED_AT), np.zeros(BUCKETS)
    known, solved, multiplier = before.counts, [-np.inf], [1.0]

    def bid(at: int, left: float) -> float:
        now = float(today.time[at])
        if now - solved[0] > _SOLVED_EVERY:
            found = pace(np.array(ratio), np.array(spend), left / coming(known, counted, now))
            multiplier[0], solved[0] = found.multiplier, now
        counted[min(int(now / DAY * BUCKETS), BUCKETS - 1)] += 1
        ratio.append(float(today.cost[at] / (MOST_A_UNIT * today.worth[at])))
        spend.append(float(today.cost[at]))
        return multiplier[0]

    return _play(today, budget, bid)


def _planned(before: Day, budget: float, now: float) -> float:
    """What should be spent by a moment, if today were as yesterday."""
    return budget * float(np.searchsorted(before.time, now)) / len(before.time)


def _play(today: Day, budget: float, bid: Callable[[int, float], float]) -> Played:
    """``bid`` says by what the campaign multiplies the most that it would pay, for the place at a row with so much left."""
    left, worth = budget, 0.0
    for at, (value, cost) in enumerate(zip(today.worth.tolist(), today.cost.tolist(), strict=True)):
        if bid(at, left) * MOST_A_UNIT * value > cost and cost <= left:
            left, worth = left - cost, worth + value
    return Played(worth, budget - left)


WAYS = {
    "no pacing": unpaced,
    "throttling": throttled,
    "PID": by_pid,
    "dual descent, a step a place": dual_descent,
    "dual, solved anew": solved_anew,
}
