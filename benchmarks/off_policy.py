"""Off-policy values on real bandit logs whose truth is known: what random choice earned, told from the log of another policy.

Protocol: the Open Bandit Dataset sample (Saito, Aihara, Matsutani and Narita 2020), campaigns "all" (80 products) and "women"
(46), 10,000 rows a log. The value of choosing uniformly at random is estimated from the Thompson sampling log (w = 1 /
products over the logged propensity) and compared with what the log of the uniform policy really earned; 95 % bootstrap
intervals over rows. The reward model of DR is the mean of each product, drawn to the overall mean with the strength of 500
rows.
"""

import numpy as np
import polars as pl

from benchmarks.data import folder, row
from vetrina.core.types import Interval
from vetrina.metrics.bootstrap import interval
from vetrina.metrics.off_policy import Samples, value

_SHRINK = 500.0


def main() -> None:
    """Both campaigns."""
    root = folder("open-bandit-sample")
    for campaign in ("all", "women"):
        logged = pl.read_parquet(root / f"bts_{campaign}.parquet")
        truth = interval(pl.read_parquet(root / f"random_{campaign}.parquet")["click"].to_numpy().astype(float))
        found = value(_samples(logged, len(pl.read_parquet(root / f"items_{campaign}.parquet"))))
        named = zip(("SNIPS", "DR", "beta*-IPS"), found.estimates, strict=True)
        said = ", ".join(f"{name} {_percent(e)}" for name, e in named)
        what = f"click rate of random choice, campaign {campaign}"
        row(what, f"{said}; {found.effective:,.0f} effective of {found.samples:,} rows", f"earned {_percent(truth)}")


def _samples(logged: pl.DataFrame, products: int) -> Samples:
    item, click = logged["item_id"].to_numpy(), logged["click"].to_numpy().astype(float)
    shown = np.bincount(item, minlength=products)
    mean = float(click.mean())
    expected = (np.bincount(item, click, products) + _SHRINK * mean) / (shown + _SHRINK)
    w = 1.0 / products / logged["propensity_score"].to_numpy()
    return Samples(np.arange(len(item)), w, click, expected[item], np.full(len(item), expected.mean()))


def _percent(found: Interval) -> str:
    return f"{found.point:.2%} [{found.low:.2%}, {found.high:.2%}]"
