"""One auction: places in the order of value, each click at the price that would have kept its place. Pure.

value = bid x pace x chance of a click x quality. The ad at place i pays for a click what would make its value equal to the
next one's (the generalised second price of Edelman, Ostrovsky and Schwarz 2007), at least the floor and never more than its
bid. One campaign stands at most once in an answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class AuctionOutcome:
    """``order`` (slots or fewer,) rows of the ads that are shown, best first, and the ``price`` of a click on each.

    ``ratio`` (n,) is what each ad's value could have been multiplied by and still have won the last place, ``spend`` (n,) what
    it would have been expected to cost there.
    """

    order: NDArray[np.intp]
    price: NDArray[np.float64]
    min_winning_multiplier: NDArray[np.float64]
    expected_spend: NDArray[np.float64]


def run_auction(
    bid: Floats,
    pace: Floats,
    click_probability: Floats,
    quality: Floats,
    campaign: NDArray[np.intp],
    slots: int,
    floor_price: float,
) -> AuctionOutcome:
    """All arrays are (n,); ``campaign`` numbers who pays, ``pace`` is 0 for an ad that does not take part."""
    worth = np.asarray(click_probability * quality, np.float64)
    full = np.asarray(bid, np.float64) * worth
    value = full * pace
    ranked = np.argsort(-value, kind="stable")
    ranked = ranked[(value[ranked] > 0) & (bid[ranked] >= floor_price)]
    _, first = np.unique(campaign[ranked], return_index=True)
    ranked = ranked[np.sort(first)]
    order = ranked[:slots]
    following = np.append(value[ranked], 0.0)[1 : len(order) + 1]
    price = np.clip(following / np.maximum(worth[order], 1e-12), floor_price, bid[order]) if len(order) else np.empty(0)
    ratio, spend = _last_slot_thresholds(bid, full, worth, value, ranked, campaign, slots, floor_price)
    return AuctionOutcome(order, price, ratio, np.asarray(click_probability, np.float64) * spend)


def _last_slot_thresholds(
    bid: Floats,
    full_value: Floats,
    value_per_bid: Floats,
    value: Floats,
    ranked: NDArray[np.intp],
    campaign: NDArray[np.intp],
    slots: int,
    floor_price: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The value to beat for the last place, campaign by campaign without its own ads, as a share of each ad's full value."""
    best = value[ranked]
    place = {int(c): at for at, c in enumerate(campaign[ranked].tolist())}
    own = np.array([place.get(int(c), len(ranked)) for c in campaign.tolist()], np.intp)
    # Without its own campaign the last place goes to the slots-th of the others.
    last = np.where(own < slots, slots, slots - 1)
    to_beat = np.where(last < len(best), np.append(best, 0.0)[np.minimum(last, len(best))], 0.0)
    price = np.clip(to_beat / np.maximum(value_per_bid, 1e-12), floor_price, None)
    ratio = np.where(
        full_value > 0, np.maximum(to_beat, floor_price * value_per_bid) / np.maximum(full_value, 1e-12), np.inf
    )
    return np.where(bid >= floor_price, ratio, np.inf), np.minimum(price, bid)
