"""Generalised second-price auction for one answer. Pure.

value = bid x pace x click probability x quality. Ads take the slots in the order of value. The ad in slot i pays for a click
what would make its value equal to the next ad's (the generalised second price of Edelman, Ostrovsky and Schwarz 2007), at least
the floor price and never more than its bid. Each campaign takes at most one slot of an answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_MIN_DIVISOR = 1e-12  # keeps divisions by a value of 0 finite


@dataclass(frozen=True)
class AuctionOutcome:
    """The winners of an auction, and what each ad would have needed to win the last slot.

    ``order`` (slots or fewer,) rows of the winning ads, best first, and the ``price`` of a click on each.
    ``min_winning_multiplier`` (n,) is the pace at which each ad would still have won the last slot, ``expected_spend`` (n,) what
    it would be expected to cost there.
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
    """The outcome of the auction of one answer.

    Args:
        bid: (n,) the most that a click on each ad may cost.
        pace: (n,) 0 to 1, the pacing multiplier of each ad's campaign; 0 for an ad that does not take part.
        click_probability: (n,) 0 to 1.
        quality: (n,) factor on the value, above 0.
        campaign: (n,) number of the campaign that pays.
        slots: number of slots of the answer.
        floor_price: the least that a click costs, in the currency of the bids.
    """
    value_per_bid = np.asarray(click_probability * quality, np.float64)
    full_value = np.asarray(bid, np.float64) * value_per_bid
    value = full_value * pace

    ranked = np.argsort(-value, kind="stable")
    ranked = ranked[(value[ranked] > 0) & (bid[ranked] >= floor_price)]
    _, first_of_campaign = np.unique(campaign[ranked], return_index=True)
    ranked = ranked[np.sort(first_of_campaign)]

    order = ranked[:slots]
    next_value = np.append(value[ranked], 0.0)[1 : len(order) + 1]
    price = np.empty(0)
    if len(order):
        second_price = next_value / np.maximum(value_per_bid[order], _MIN_DIVISOR)
        price = np.clip(second_price, floor_price, bid[order])

    min_winning_multiplier, last_slot_price = _last_slot_thresholds(
        bid, full_value, value_per_bid, value, ranked, campaign, slots, floor_price
    )
    expected_spend = np.asarray(click_probability, np.float64) * last_slot_price
    return AuctionOutcome(order, price, min_winning_multiplier, expected_spend)


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
    """(n,) the pace at which each ad would have won the last slot, and (n,) the price of a click there.

    The value to beat is that of the last slot in an auction without the other ads of the same campaign.
    """
    ranked_values = value[ranked]
    rank_of_campaign = {int(number): rank for rank, number in enumerate(campaign[ranked].tolist())}
    own_rank = np.array([rank_of_campaign.get(int(number), len(ranked)) for number in campaign.tolist()], np.intp)
    # Without its own campaign the last slot goes to the slots-th of the others.
    rank_to_beat = np.where(own_rank < slots, slots, slots - 1)
    values_and_zero = np.append(ranked_values, 0.0)
    value_at_rank = values_and_zero[np.minimum(rank_to_beat, len(ranked_values))]
    value_to_beat = np.where(rank_to_beat < len(ranked_values), value_at_rank, 0.0)

    price = np.clip(value_to_beat / np.maximum(value_per_bid, _MIN_DIVISOR), floor_price, None)
    needed_value = np.maximum(value_to_beat, floor_price * value_per_bid)
    multiplier = np.where(full_value > 0, needed_value / np.maximum(full_value, _MIN_DIVISOR), np.inf)
    may_win = bid >= floor_price
    return np.where(may_win, multiplier, np.inf), np.minimum(price, bid)
