"""Budget pacing: the bid multiplier and participation share that make a daily budget last. Pure.

Spending a budget well is a knapsack problem whose Lagrange multiplier is the price of budget: a campaign should win every slot
that costs less than its value divided by that price. The dual problem is solved again and again over the most recent slots and
the remaining budget: dual descent over a window of slots (Balseiro, Lu and Mirrokni 2023 take one step a slot; solving again
with the remaining budget is theirs, too). So a shock in traffic or prices is answered as soon as the most recent slots show it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY

BUCKETS_PER_DAY = 288  # five minutes each
_BUCKET_SECONDS = DAY / BUCKETS_PER_DAY
_BUCKETS_PER_HOUR = 12
_PRIOR_SLOTS = 20.0  # slots by which the trend is shrunk to that of yesterday
_MAX_TREND_RATIO = 5.0  # today is expected to be at most so many times stronger or weaker than yesterday
_MIN_MULTIPLIER = 1e-9
_MIN_DIVISOR = 1e-12
_MIN_SECONDS_FOR_RATE = 60.0  # of today, before its rate of slots is estimated


@dataclass(frozen=True)
class Pace:
    """Values are multiplied by ``multiplier`` (0 to 1); the campaign takes part in ``participation_share`` of the answers."""

    multiplier: float = 1.0
    participation_share: float = 1.0


def solve_pace(
    min_winning_multiplier: NDArray[np.float64], expected_spend: NDArray[np.float64], budget_per_slot: float
) -> Pace:
    """The largest multiplier at which the most recent slots would have cost at most the budget.

    Where even the cheapest slots cost more than that, the campaign takes part in a share of the answers.

    Args:
        min_winning_multiplier: (n,) multiplier from which on the campaign would have won each slot.
        expected_spend: (n,) what each slot would then have cost.
        budget_per_slot: the remaining budget divided by the number of slots that are still expected.
    """
    n_slots = len(min_winning_multiplier)
    if not n_slots:
        return Pace()
    if budget_per_slot <= 0:
        return Pace(0.0, 0.0)
    order = np.argsort(min_winning_multiplier, kind="stable")
    multipliers = min_winning_multiplier[order]
    spends = expected_spend[order]
    cumulative_spend = np.cumsum(spends) / n_slots
    is_winnable = multipliers <= 1.0
    if not is_winnable.any() or cumulative_spend[is_winnable][-1] <= budget_per_slot:
        return Pace()
    first_too_expensive = int(np.searchsorted(cumulative_spend, budget_per_slot, "right"))
    limit = float(multipliers[first_too_expensive])
    is_cheaper = multipliers < limit
    if is_cheaper.any() and float(cumulative_spend[is_cheaper][-1]) > 0:
        return Pace(limit, 1.0)
    spend_at_limit = float(spends[multipliers == limit].sum()) / n_slots
    multiplier = min(1.0, max(limit, _MIN_MULTIPLIER) * (1.0 + _MIN_MULTIPLIER))
    share = min(1.0, budget_per_slot / max(spend_at_limit, _MIN_DIVISOR))
    return Pace(multiplier, share)


def expected_slots(yesterday: NDArray[np.float64], today: NDArray[np.float64], second_of_day: float) -> float:
    """Number of slots that are expected until the end of the day; at least one.

    The rest of yesterday, scaled by how much stronger or weaker the last hour was than the same hour of yesterday (shrunk by
    _PRIOR_SLOTS, at most _MAX_TREND_RATIO times). Without data of yesterday: the rate of today so far.

    Args:
        yesterday: (BUCKETS_PER_DAY,) slots of each bucket of yesterday.
        today: (BUCKETS_PER_DAY,) slots of each bucket of today so far.
        second_of_day: seconds since the day started.
    """
    if not yesterday.any():
        slots_per_second = float(today.sum()) / max(second_of_day, _MIN_SECONDS_FOR_RATE)
        return max(1.0, slots_per_second * (DAY - second_of_day))
    bucket = min(int(second_of_day // _BUCKET_SECONDS), BUCKETS_PER_DAY - 1)
    rest_of_bucket = 1.0 - second_of_day / _BUCKET_SECONDS + bucket
    rest_of_yesterday = float(yesterday[bucket + 1 :].sum()) + float(yesterday[bucket]) * rest_of_bucket
    if bucket < _BUCKETS_PER_HOUR:
        return max(1.0, rest_of_yesterday)
    last_hour = slice(bucket - _BUCKETS_PER_HOUR, bucket)
    slots_yesterday = float(yesterday[last_hour].sum())
    slots_today = float(today[last_hour].sum())
    trend = (slots_today + _PRIOR_SLOTS) / (slots_yesterday + _PRIOR_SLOTS)
    bounded_trend = float(np.clip(trend, 1.0 / _MAX_TREND_RATIO, _MAX_TREND_RATIO))
    return max(1.0, rest_of_yesterday * bounded_trend)
