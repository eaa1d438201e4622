"""How many shoppers it takes to show that a candidate is worse: mixed lists beside two arms of half the shoppers each.

Protocol: 300 products, shoppers with known tastes, ten of thirty products a shopper; both versions rank by what the shopper wants
plus noise, the candidate's noise is larger, which costs the stated share of clicks. A shopper comes once. Looked at after every
500 shoppers; shown worse at alpha .05 / 7 as in a release: mixed lists by the e-value against 53 % who prefer the champion, two
arms by the confidence sequence of clicked answers against the 2 % margin. Median of 20 pairs; at most 30,000 shoppers.
"""

from functools import partial

import numpy as np

from benchmarks.record import row
from vetrina.core.rollout_types import CANARY, CHAMPION, OutcomeStatistics
from vetrina.core.types import RankedItem
from vetrina.evaluation.sequential import confidence_radius, estimate_effect, log_e_above, outcome_statistics
from vetrina.serve.experiments.interleaving import team_draft
from vetrina.simulate.world import World

_WORLD = World(products=300, users=5_000)
_POOL = 30
_LIST = 10
_BATCH = 500
_MOST = 30_000
_PAIRS = 20
_ALPHA = 0.05 / 7
_NOISE = 0.5


def main() -> None:
    """One that is as good, and two that are worse."""
    for noise in (0.5, 1.3, 2.0):
        cost = _cost(noise)
        mixed = [_mixed(noise, seed) for seed in range(_PAIRS)]
        arms = [_arms(noise, seed) for seed in range(_PAIRS)]
        row(
            f"candidate with {cost:.1%} fewer clicked answers", f"mixed lists {_said(mixed)}", f"two arms {_said(arms)}"
        )


def _said(found: list[int | None]) -> str:
    shown = [n for n in found if n is not None]
    if len(shown) < len(found) / 2:
        return f"shown worse in {len(shown)} of {len(found)}"
    return f"{int(np.median([n or _MOST for n in found])):,} shoppers (shown worse in {len(shown)} of {len(found)})"


def _lists(user: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    pool = rng.choice(_WORLD.products, _POOL, replace=False)
    appeal = _WORLD.appeal(user)[pool]
    own = pool[np.argsort(-(appeal + rng.normal(0, _NOISE, _POOL)))][:_LIST]
    return own, pool[np.argsort(-(appeal + rng.normal(0, noise, _POOL)))][:_LIST]


def _clicks(user: int, shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.random(len(shown)) < _WORLD.click_probability(user, shown)


def _cost(noise: float) -> float:
    rng = np.random.default_rng(0)
    clicked = np.zeros(2)
    for _ in range(20_000):
        user = int(rng.integers(_WORLD.users))
        clicked += [1 - np.prod(1 - _WORLD.click_probability(user, shown)) for shown in _lists(user, noise, rng)]
    return float(1 - clicked[1] / clicked[0])


def _mixed(noise: float, seed: int) -> int | None:
    rng = np.random.default_rng([1, seed])
    wins = 0
    losses = 0
    item = partial(RankedItem, title="", score=0.0)
    for shoppers in range(1, _MOST + 1):
        user = int(rng.integers(_WORLD.users))
        own, other = ([item(str(p)) for p in shown] for shown in _lists(user, noise, rng))
        mixed = team_draft(own, other, _LIST, rng)
        hit = _clicks(user, np.array([int(i.product_id) for i in mixed]), rng)
        teams = np.array([i.team for i in mixed])[hit]
        votes = int((teams == CANARY).sum()) - int((teams == CHAMPION).sum())
        wins = wins + (votes > 0)
        losses = losses + (votes < 0)
        if shoppers % _BATCH == 0 and log_e_above(losses, wins + losses, 0.53) >= -np.log(_ALPHA):
            return shoppers
    return None


def _arms(noise: float, seed: int) -> int | None:
    rng = np.random.default_rng([2, seed])
    found = OutcomeStatistics()
    usual = np.full(_BATCH, 0.5)
    for batch in range(_MOST // _BATCH):
        canary = rng.random(_BATCH) < 0.5
        clicked = np.zeros(_BATCH)
        for n in range(_BATCH):
            user = int(rng.integers(_WORLD.users))
            shown = _lists(user, noise, rng)[int(canary[n])]
            clicked[n] = _clicks(user, shown, rng).any()
        found += outcome_statistics(canary, clicked, usual, 0.5)
        estimate = estimate_effect(found, 0.02)
        if estimate.point + confidence_radius(estimate, 2 * _ALPHA) < 0:
            return (batch + 1) * _BATCH
    return None
