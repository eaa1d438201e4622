"""How strongly a campaign takes part so that its budget lasts the day. Pure.

Spending a budget well is a knapsack whose Lagrange multiplier is the price of budget: a campaign should win every place that
costs less than its value over that price. The dual of it is solved anew, again and again, over the places of late and for
what is left: dual descent that looks back over many places at a time (Balseiro, Lu and Mirrokni 2023 take one step a place;
solving anew with what is left is theirs, too). So a shock in traffic or prices is answered as soon as the places of late show
it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY

BUCKETS_PER_DAY = 288  # of a day: five minutes each
_BUCKET_SECONDS = DAY / BUCKETS_PER_DAY
_BUCKETS_PER_HOUR = 12
_PRIOR_SLOTS = 20.0
_MAX_TREND_RATIO = 5.0
_MIN_MULTIPLIER = 1e-9


@dataclass(frozen=True)
class Pace:
    """Values are multiplied by ``multiplier`` (0 to 1); the campaign takes part in a ``share`` of answers."""

    multiplier: float = 1.0
    participation_share: float = 1.0


def solve_pace(
    min_winning_multiplier: NDArray[np.float64], expected_spend: NDArray[np.float64], budget_per_slot: float
) -> Pace:
    """The largest multiplier at which the places of late would have cost at most ``rate`` each.

    ``ratio`` (n,) is the multiplier from which on a place would have been won, ``spend`` (n,) what it would then have cost.
    Where even the cheapest cost more than the rate the campaign wins them in a share of answers.
    """
    if not len(min_winning_multiplier):
        return Pace()
    if budget_per_slot <= 0:
        return Pace(0.0, 0.0)
    order = np.argsort(min_winning_multiplier, kind="stable")
    sorted_ratio = min_winning_multiplier[order]
    total = np.cumsum(expected_spend[order]) / len(min_winning_multiplier)
    inside = sorted_ratio <= 1.0
    if not inside.any() or total[inside][-1] <= budget_per_slot:
        return Pace()
    past = int(np.searchsorted(total, budget_per_slot, "right"))  # the first place that is too much
    limit = float(sorted_ratio[past])
    cheaper = sorted_ratio < limit
    spent = float(total[cheaper][-1]) if cheaper.any() else 0.0
    at_limit = float(expected_spend[order][sorted_ratio == limit].sum()) / len(min_winning_multiplier)
    if spent > 0:
        return Pace(limit, 1.0)
    return Pace(
        min(1.0, max(limit, _MIN_MULTIPLIER) * (1.0 + _MIN_MULTIPLIER)),
        min(1.0, budget_per_slot / max(at_limit, 1e-12)),
    )


def expected_slots(yesterday: NDArray[np.float64], today: NDArray[np.float64], second_of_day: float) -> float:
    """How many places are expected from ``second`` of the day to its end; at least one.

    Both are counts (BUCKETS,). The rest of yesterday, as much stronger or weaker as the last hour was than the same hour of
    yesterday (drawn to it by _PRIOR places, at most _MOST times); without a yesterday as many a second as today so far.
    """
    if not yesterday.any():
        return max(1.0, float(today.sum()) / max(second_of_day, 60.0) * (DAY - second_of_day))
    at = min(int(second_of_day // _BUCKET_SECONDS), BUCKETS_PER_DAY - 1)
    rest = float(yesterday[at + 1 :].sum()) + float(yesterday[at]) * (1.0 - second_of_day / _BUCKET_SECONDS + at)
    if at < _BUCKETS_PER_HOUR:
        return max(1.0, rest)
    then, now = (float(day[at - _BUCKETS_PER_HOUR : at].sum()) for day in (yesterday, today))
    return max(
        1.0,
        rest * float(np.clip((now + _PRIOR_SLOTS) / (then + _PRIOR_SLOTS), 1.0 / _MAX_TREND_RATIO, _MAX_TREND_RATIO)),
    )
