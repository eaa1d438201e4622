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

BUCKETS = 288  # of a day: five minutes each
_SECONDS, _HOUR = DAY / BUCKETS, 12
_PRIOR, _MOST, _LEAST = 20.0, 5.0, 1e-9


@dataclass(frozen=True)
class Pace:
    """Values are multiplied by ``multiplier`` (0 to 1); the campaign takes part in a ``share`` of answers."""

    multiplier: float = 1.0
    share: float = 1.0


def pace(ratio: NDArray[np.float64], spend: NDArray[np.float64], rate: float) -> Pace:
    """The largest multiplier at which the places of late would have cost at most ``rate`` each.

    ``ratio`` (n,) is the multiplier from which on a place would have been won, ``spend`` (n,) what it would then have cost.
    Where even the cheapest cost more than the rate the campaign wins them in a share of answers.
    """
    if not len(ratio):
        return Pace()
    if rate <= 0:
        return Pace(0.0, 0.0)
    order = np.argsort(ratio, kind="stable")
    sorted_ratio, total = ratio[order], np.cumsum(spend[order]) / len(ratio)
    inside = sorted_ratio <= 1.0
    if not inside.any() or total[inside][-1] <= rate:
        return Pace()
    past = int(np.searchsorted(total, rate, "right"))  # the first place that is too much
    limit = float(sorted_ratio[past])
    cheaper = sorted_ratio < limit
    spent = float(total[cheaper][-1]) if cheaper.any() else 0.0
    at_limit = float(spend[order][sorted_ratio == limit].sum()) / len(ratio)
    if spent > 0:
        return Pace(limit, 1.0)
    return Pace(min(1.0, max(limit, _LEAST) * (1.0 + _LEAST)), min(1.0, rate / max(at_limit, 1e-12)))


def coming(yesterday: NDArray[np.float64], today: NDArray[np.float64], second: float) -> float:
    """How many places are expected from ``second`` of the day to its end; at least one.

    Both are counts (BUCKETS,). The rest of yesterday, as much stronger or weaker as the last hour was than the same hour of
    yesterday (drawn to it by _PRIOR places, at most _MOST times); without a yesterday as many a second as today so far.
    """
    if not yesterday.any():
        return max(1.0, float(today.sum()) / max(second, 60.0) * (DAY - second))
    at = min(int(second // _SECONDS), BUCKETS - 1)
    rest = float(yesterday[at + 1 :].sum()) + float(yesterday[at]) * (1.0 - second / _SECONDS + at)
    if at < _HOUR:
        return max(1.0, rest)
    then, now = (float(day[at - _HOUR : at].sum()) for day in (yesterday, today))
    return max(1.0, rest * float(np.clip((now + _PRIOR) / (then + _PRIOR), 1.0 / _MOST, _MOST)))
