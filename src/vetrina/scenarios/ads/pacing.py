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
    return Pace(min(1.0, limit * (1.0 + 1e-9)) if limit > 0 else 1.0, min(1.0, rate / max(at_limit, 1e-12)))
