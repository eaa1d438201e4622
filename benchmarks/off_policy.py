"""Off-policy values on real bandit logs whose truth is known: what random choice earned, told from the log of another policy.

Protocol: the Open Bandit Dataset sample (Saito, Aihara, Matsutani and Narita 2020), campaigns "all" (80 products) and "women"
(46), 10,000 rows a log. The value of choosing uniformly at random is estimated from the Thompson sampling log (w = 1 /
products over the logged propensity) and compared with what the log of the uniform policy really earned; 95 % bootstrap
intervals over rows. The reward model of DR is the mean of each product, drawn to the overall mean with the strength of 500
rows.

Beside it a simulation whose truth is known to the last digit: 20 actions with click chances from 2 to 12 %, a logging and a
target policy by softmax of the chances with noise, 5,000 rows, 1,000 times: how often the 95 % interval holds the truth, and the
root mean squared error. Where obp (Open Bandit Pipeline) is installed, its SNIPS and DR are asked for the same rows.
"""

from collections.abc import Callable
from importlib import import_module

import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.record import row
from vetrina.core.evaluation_data import Interval
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.evaluation.off_policy import LoggedSamples, estimate_value

_SHRINK = 500.0
_ACTIONS = 20
_ROWS = 5_000
_TIMES = 1_000


def main() -> None:
    """Both campaigns, and the simulation."""
    root = folder("open-bandit-sample")
    for campaign in ("all", "women"):
        logged = pl.read_parquet(root / f"bts_{campaign}.parquet")
        truth = mean_interval(pl.read_parquet(root / f"random_{campaign}.parquet")["click"].to_numpy().astype(float))
        value = estimate_value(_samples(logged, len(pl.read_parquet(root / f"items_{campaign}.parquet"))))
        named = zip(("SNIPS", "DR", "beta*-IPS"), value.estimates, strict=True)
        text = ", ".join(f"{name} {_percent(e)}" for name, e in named)
        what = f"click rate of random choice, campaign {campaign}"
        row(
            what,
            f"{text}; {value.effective_samples:,.0f} effective of {value.n_samples:,} rows",
            f"earned {_percent(truth)}",
        )
    _simulated()


def _simulated() -> None:
    rng = np.random.default_rng(42)
    reference = _obp()
    chance = rng.uniform(0.02, 0.12, _ACTIONS)
    logging, target = (_softmax(rng.normal(12.0 * chance, 0.5)) for _ in range(2))
    truth = float(target @ chance)
    n_covered = np.zeros(3)
    missed = np.zeros(3)
    others = np.zeros(2)
    for _ in range(_TIMES):
        action = rng.choice(_ACTIONS, _ROWS, p=logging)
        click = (rng.random(_ROWS) < chance[action]).astype(float)
        impressions = np.bincount(action, minlength=_ACTIONS)
        mean = float(click.mean())
        expected = (np.bincount(action, click, _ACTIONS) + _SHRINK * mean) / (impressions + _SHRINK)
        w = target[action] / logging[action]
        samples = LoggedSamples(np.arange(_ROWS), w, click, expected[action], np.full(_ROWS, float(target @ expected)))
        estimates = estimate_value(samples, seed=int(rng.integers(2**31))).estimates
        n_covered += [e.low <= truth <= e.high for e in estimates]
        missed += [(e.point - truth) ** 2 for e in estimates]
        if reference is not None:
            others += [
                (estimate - truth) ** 2 for estimate in reference(click, action, logging[action], target, expected)
            ]
    for at, name in enumerate(("SNIPS", "DR", "beta*-IPS")):
        error = np.sqrt(missed[at] / _TIMES)
        against = f"obp's {np.sqrt(others[at] / _TIMES):.5f}" if reference and at < len(others) else ""
        row(f"simulated, {name}", f"holds the truth in {n_covered[at] / _TIMES:.1%}, RMSE {error:.5f}", against)


def _softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max())
    return raised / raised.sum()


def _obp() -> Callable[..., tuple[float, float]] | None:
    """SNIPS and DR of the Open Bandit Pipeline on rows of one place; None where it is not installed."""
    try:
        ope = import_module("obp.ope")
    except ImportError:
        return None

    def said(click: np.ndarray, action: np.ndarray, chance: np.ndarray, target: np.ndarray, expected: np.ndarray):
        same = {
            "reward": click,
            "action": action,
            "pscore": chance,
            "position": np.zeros(len(click), int),
            "action_dist": np.broadcast_to(target[None, :, None], (len(click), len(target), 1)),
        }
        model = np.broadcast_to(expected[None, :, None], (len(click), len(expected), 1))
        snips = ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**same)
        doubly = ope.DoublyRobust().estimate_policy_value(**same, estimated_rewards_by_reg_model=model)
        return float(snips), float(doubly)

    return said


def _samples(logged: pl.DataFrame, products: int) -> LoggedSamples:
    item = logged["item_id"].to_numpy()
    click = logged["click"].to_numpy().astype(float)
    impressions = np.bincount(item, minlength=products)
    mean = float(click.mean())
    expected = (np.bincount(item, click, products) + _SHRINK * mean) / (impressions + _SHRINK)
    w = 1.0 / products / logged["propensity_score"].to_numpy()
    return LoggedSamples(np.arange(len(item)), w, click, expected[item], np.full(len(item), expected.mean()))


def _percent(interval: Interval) -> str:
    return f"{interval.point:.2%} [{interval.low:.2%}, {interval.high:.2%}]"
