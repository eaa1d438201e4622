"""Budget pacing policies, simulated on a day of auctions whose best possible result is known afterwards.

A slot has a value for the campaign and costs what the next bidder would have paid. A policy sees the value of each slot before
it bids, and its price afterwards.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.serve.pacing import BUCKETS_PER_DAY, expected_slots, solve_pace

Floats = NDArray[np.float64]
MAX_PRICE_PER_VALUE = 3.0  # most that the campaign pays for a unit of value if its budget had no end

# The simulated day.
_SECONDS_PER_MINUTE = 60.0
_SHOCK_SECOND = 14 * 3_600.0  # of the day
_SHOCK_TRAFFIC_FACTOR = 2.5
_SHOCK_COST_FACTOR = 1.4

# Throttling.
_FIRST_PARTICIPATION = 0.2  # probability of taking part in an auction
_THROTTLE_INTERVAL_SLOTS = 50
_THROTTLE_UP = 1.1
_THROTTLE_DOWN = 0.9
_MIN_PARTICIPATION = 0.001

# PID control of the logarithm of the bid multiplier.
_PID_BIAS = -1.2
_PID_PROPORTIONAL = 20
_PID_INTEGRAL = 20
_PID_DERIVATIVE = 5
_MIN_LOG_MULTIPLIER = -6.0

# Dual descent.
_FIRST_DUAL_PRICE = 1.2
_MAX_DUAL_PRICE = 20.0

# The dual that is solved again.
_MAX_RECENT_SLOTS = 2_000
_SOLVE_INTERVAL_SECONDS = 30.0

# Multiplies the highest price for the slot at an index, with so much of the budget left.
BidMultiplier = Callable[[int, float], float]


@dataclass(frozen=True)
class AuctionDay:
    """Slots in the order of time: ``time`` in seconds of the day, ``value`` and ``cost`` of each, all (n,)."""

    time: Floats
    value: Floats
    cost: Floats

    @property
    def slots_per_bucket(self) -> Floats:
        """(BUCKETS_PER_DAY,) number of slots in each five minutes."""
        edges = np.linspace(0, DAY, BUCKETS_PER_DAY + 1)
        return np.histogram(self.time, edges)[0].astype(np.float64)


@dataclass(frozen=True)
class PacingResult:
    """The value that a policy bought on a day, and what it spent."""

    value: float
    spent: float


def simulate_day(seed: int, n_slots: int = 20_000, *, shock: bool = False) -> AuctionDay:
    """Auctions with the daily rhythm of a shop.

    Args:
        seed: of the day.
        n_slots: expected number of slots, without a shock.
        shock: from two in the afternoon two and a half times the traffic, 40 % dearer.

    Returns:
        The slots of the day.
    """
    rng = np.random.default_rng(seed)
    minute_starts = np.arange(0.0, DAY, _SECONDS_PER_MINUTE)
    hour = minute_starts / 3_600.0
    morning = 0.7 * np.sin((hour - 9) / 12 * np.pi)
    evening = 0.3 * np.sin((hour - 4) / 6 * np.pi)
    rhythm = np.maximum(1 + morning + evening, 0.1)
    traffic_factor = np.where((minute_starts > _SHOCK_SECOND) & shock, _SHOCK_TRAFFIC_FACTOR, 1.0)
    counts: NDArray[np.int64] = rng.poisson(traffic_factor * rhythm / rhythm.sum() * n_slots)
    second_of_minute = _SECONDS_PER_MINUTE * rng.random(int(counts.sum()))
    time = np.sort(np.repeat(minute_starts, counts) + second_of_minute)
    value = rng.lognormal(0.0, 0.7, len(time))
    cost = np.sqrt(value) * rng.lognormal(-0.3, 0.6, len(time))
    cost = np.where((time > _SHOCK_SECOND) & shock, _SHOCK_COST_FACTOR * cost, cost)
    return AuctionDay(time, value, cost)


def optimal_value(auction_day: AuctionDay, budget: float) -> float:
    """The highest value that the budget could have bought: the fractional knapsack, by value over cost."""
    order = np.argsort(auction_day.cost / auction_day.value)
    cost = auction_day.cost[order]
    value = auction_day.value[order]
    spent = np.cumsum(cost)
    n_whole = int(np.searchsorted(spent, budget, "right"))
    whole_value = float(value[:n_whole].sum())
    if n_whole == len(order):
        return whole_value
    left = budget
    if n_whole:
        left = budget - float(spent[n_whole - 1])
    return whole_value + left / float(cost[n_whole]) * float(value[n_whole])


def no_pacing(today: AuctionDay, yesterday: AuctionDay, budget: float) -> PacingResult:
    """Buy every slot that costs no more than its value, until the budget is spent.

    Args:
        today: the slots to bid for.
        yesterday: the slots of the day before, which this policy does not use.
        budget: most that may be spent.

    Returns:
        Value and spending of the day.
    """

    def bid(slot: int, left: float) -> float:
        return 1.0

    return _bid_through_day(today, budget, bid)


def throttling(today: AuctionDay, yesterday: AuctionDay, budget: float, seed: int = 0) -> PacingResult:
    """Take part in a random share of auctions that follows planned spending (Agarwal, Ghosh, Wei and You 2014).

    Args:
        today: the slots to bid for.
        yesterday: the slots of the day before, whose rhythm is the plan.
        budget: most that may be spent.
        seed: of the random participation.

    Returns:
        Value and spending of the day.
    """
    rng = np.random.default_rng(seed)
    participation = _FIRST_PARTICIPATION

    def bid(slot: int, left: float) -> float:
        nonlocal participation
        if slot % _THROTTLE_INTERVAL_SLOTS == 0:
            planned = _planned_spend(yesterday, budget, float(today.time[slot]))
            is_behind = budget - left < planned
            factor = _THROTTLE_UP if is_behind else _THROTTLE_DOWN
            participation = float(np.clip(participation * factor, _MIN_PARTICIPATION, 1.0))
        return float(rng.random() < participation)

    return _bid_through_day(today, budget, bid)


def pid_control(today: AuctionDay, yesterday: AuctionDay, budget: float) -> PacingResult:
    """Bid by a PID controller of the difference between planned and actual spending.

    Args:
        today: the slots to bid for.
        yesterday: the slots of the day before, whose rhythm is the plan.
        budget: most that may be spent.

    Returns:
        Value and spending of the day.
    """
    integral = 0.0
    last_error = 0.0

    def bid(slot: int, left: float) -> float:
        nonlocal integral, last_error
        planned = _planned_spend(yesterday, budget, float(today.time[slot]))
        error = (planned - (budget - left)) / budget
        integral = integral + error / len(yesterday.time)
        derivative = error - last_error
        last_error = error
        log_multiplier = _PID_BIAS + _PID_PROPORTIONAL * error + _PID_INTEGRAL * integral + _PID_DERIVATIVE * derivative
        return float(np.exp(np.clip(log_multiplier, _MIN_LOG_MULTIPLIER, 0.0)))

    return _bid_through_day(today, budget, bid)


def dual_descent(today: AuctionDay, yesterday: AuctionDay, budget: float, step: float = 0.005) -> PacingResult:
    """One step of the dual price of the budget for each slot (Balseiro, Lu and Mirrokni 2023).

    Args:
        today: the slots to bid for.
        yesterday: the slots of the day before; each of as many slots gets an equal part of the budget.
        budget: most that may be spent.
        step: step size of the dual price.

    Returns:
        Value and spending of the day.
    """
    spend_per_slot = budget / len(yesterday.time)
    dual_price = _FIRST_DUAL_PRICE
    left_before = budget

    def bid(slot: int, left: float) -> float:
        nonlocal dual_price, left_before
        spent = left_before - left
        dual_price = float(np.clip(dual_price - step * (spend_per_slot - spent), 0.0, _MAX_DUAL_PRICE))
        left_before = left
        return 1.0 / (1.0 + dual_price)

    return _bid_through_day(today, budget, bid)


def re_solved_dual(today: AuctionDay, yesterday: AuctionDay, budget: float) -> PacingResult:
    """The policy of Vetrina's campaigns: the dual over recent slots, solved again for the budget that is left.

    Args:
        today: the slots to bid for.
        yesterday: the slots of the day before, which are the recent ones at first.
        budget: most that may be spent.

    Returns:
        Value and spending of the day.
    """
    ratios = yesterday.cost / (MAX_PRICE_PER_VALUE * yesterday.value)
    recent_ratios = deque(ratios[-_MAX_RECENT_SLOTS:].tolist(), _MAX_RECENT_SLOTS)
    recent_costs = deque(yesterday.cost[-_MAX_RECENT_SLOTS:].tolist(), _MAX_RECENT_SLOTS)
    counts_yesterday = yesterday.slots_per_bucket
    counts_today = np.zeros(BUCKETS_PER_DAY)
    solved_at = -np.inf
    multiplier = 1.0

    def bid(slot: int, left: float) -> float:
        nonlocal solved_at, multiplier
        now = float(today.time[slot])
        if now - solved_at > _SOLVE_INTERVAL_SECONDS:
            spend_per_slot = left / expected_slots(counts_yesterday, counts_today, now)
            pace = solve_pace(np.array(recent_ratios), np.array(recent_costs), spend_per_slot)
            multiplier = pace.multiplier
            solved_at = now
        bucket = min(int(now / DAY * BUCKETS_PER_DAY), BUCKETS_PER_DAY - 1)
        counts_today[bucket] += 1
        recent_ratios.append(float(today.cost[slot] / (MAX_PRICE_PER_VALUE * today.value[slot])))
        recent_costs.append(float(today.cost[slot]))
        return multiplier

    return _bid_through_day(today, budget, bid)


def _planned_spend(yesterday: AuctionDay, budget: float, now: float) -> float:
    """Spending up to a second of the day, if it follows yesterday's number of slots."""
    return budget * float(np.searchsorted(yesterday.time, now)) / len(yesterday.time)


def _bid_through_day(today: AuctionDay, budget: float, bid: BidMultiplier) -> PacingResult:
    """Bid for the slots of a day in their order: the highest price times what ``bid`` returns."""
    left = budget
    bought_value = 0.0
    for slot, (value, cost) in enumerate(zip(today.value.tolist(), today.cost.tolist(), strict=True)):
        if bid(slot, left) * MAX_PRICE_PER_VALUE * value > cost and cost <= left:
            left = left - cost
            bought_value = bought_value + value
    return PacingResult(bought_value, budget - left)


PACING_POLICIES = {
    "no pacing": no_pacing,
    "throttling": throttling,
    "PID": pid_control,
    "dual descent, a step a place": dual_descent,
    "dual, solved anew": re_solved_dual,
}
