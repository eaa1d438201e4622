"""Budgets of ads: a generated day with a shock beside the best in hindsight, and the real auctions of iPinYou's campaign 2997.

Generated: 20,000 places a day in the rhythm of a shop, from two in the afternoon 2.5 times the traffic and 40 % dearer; the
budget is a fifth of what all of yesterday would have cost; ten days, seeds 0 to 9, yesterday without a shock.
iPinYou: 156 episodes of 1,000 auctions in the order of the source, budget 1,951 each (1/32), second prices, the source's pctr
as value, whole units. What a bidder knows at an auction are prices and pctr of auctions before it, never a click. Linear
bidding has one price a pctr in an episode, the one that would have spent such a budget over all auctions before the episode.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.data import MissingData, folder
from benchmarks.record import heading, note, record, row
from vetrina.serve.pacing import solve_pace
from vetrina.simulate import pacing_policies

_SEEDS = range(10)
_SHARE = 0.2
_EPISODE = 1_000
_BUDGET = 1_951
_LOOKED_AT = 5_000
_SOLVED_EVERY = 10
_FIRST_BID = 10.0
Floats = NDArray[np.float64]


def main() -> None:
    """Both."""
    for shock in (False, True):
        heading(f"generated day {'with a shock' if shock else 'like the day before'}")
        shares: dict[str, list[float]] = {name: [] for name in pacing_policies.PACING_POLICIES}
        most = 0.0
        for seed in _SEEDS:
            before = pacing_policies.simulate_day(1_000 + seed)
            today = pacing_policies.simulate_day(seed, shock=shock)
            budget = _SHARE * float(before.cost.sum())
            best = pacing_policies.optimal_value(today, budget)
            for name, way in pacing_policies.PACING_POLICIES.items():
                played = way(today, before, budget)
                shares[name].append(played.value / best)
                most = max(most, played.spent / budget)
        for name, found in shares.items():
            row(name, f"{np.mean(found):.4f} of hindsight, worst day {min(found):.4f}", "goal .98")
        row("most spent of any budget", f"{most:.6f}", "never above 1")
    try:
        _ipinyou()
    except MissingData as missing:
        note(f"skipped: {missing}")


def _ipinyou() -> None:
    found = pl.read_parquet(folder("ipinyou-2997-auctions") / "test_auctions.parquet")
    click = found["click"].cast(pl.Int64).to_numpy()
    price = found["market_price"].cast(pl.Float64).to_numpy()
    value = found["pctr"].cast(pl.Float64).to_numpy()
    heading("iPinYou 2997: clicks and cost of 156 episodes")
    for name, anew in (("linear bidding, one price an episode", False), ("dual, solved anew", True)):
        clicks, cost, worst = _bid(click, price, value, anew=anew)
        row(name, f"{clicks} clicks for {cost:,.0f}", "goal 84; published: linear 71, RLB 78, SS-MDP 80")
        row("  most spent in an episode", f"{worst:,.0f}", f"budget {_BUDGET:,}")


def _bid(click: NDArray[np.int64], price: Floats, value: Floats, *, anew: bool) -> tuple[int, float, float]:
    clicks = 0
    cost = 0.0
    worst = 0.0
    for start in range(0, len(click) // _EPISODE * _EPISODE, _EPISODE):
        left = float(_BUDGET)
        unit = _FIRST_BID / float(value[0])
        for at in range(start, start + _EPISODE):
            if at >= _SOLVED_EVERY and at % _SOLVED_EVERY == 0 and (anew or at == start):
                since = max(0, at - _LOOKED_AT) if anew else 0
                unit = _unit(price[since:at], value[since:at], left / (start + _EPISODE - at))
            if min(float(int(value[at] * unit)), left) >= price[at]:
                left = left - float(price[at])
                clicks = clicks + int(click[at])
        cost = cost + _BUDGET - left
        worst = max(worst, _BUDGET - left)
    return clicks, cost, worst


def _unit(price: Floats, value: Floats, rate: float) -> float:
    """The bid for a unit of value at which these auctions would have cost ``rate`` each."""
    needed = price / value
    return float(needed.max()) * solve_pace(needed / float(needed.max()), price, rate).multiplier


if __name__ == "__main__":
    record("pacing", __doc__, main)
