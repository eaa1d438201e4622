"""Business value of products (revenue, margin, retention), and re-ranking by it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import dictionary_encoding
from vetrina.core.types import Catalogue, Floats

GOALS = ("revenue", "margin", "retention_7", "retention_28")
TRAINABLE_GOALS = GOALS[:2]  # by these, events can be weighted before training
_FILE_NAME = "business_value"
_MAX_FACTOR = 4.0  # by which a score is raised or lowered at most


def sale_values(catalogue: Catalogue) -> NDArray[np.float64]:
    """Return (items, TRAINABLE_GOALS): price and price minus cost, less the share of returned sales; NaN where unknown."""
    costs = np.full(len(catalogue), np.nan)
    if len(catalogue.costs):
        costs = catalogue.costs
    kept_share = np.ones(len(catalogue))
    if len(catalogue.return_rates):
        kept_share = 1.0 - catalogue.return_rates
    return np.stack([catalogue.prices * kept_share, (catalogue.prices - costs) * kept_share], 1)


def write(catalogue: Catalogue, retention: Sequence[Floats], folder: Path) -> None:
    """Write the business values (items, GOALS) float32, dictionary-encoded.

    Args:
        catalogue: Prices, costs and return rates.
        retention: Shares (items,) of users who return within 7 and within 28 days.
        folder: Folder to write to.
    """
    values = np.column_stack([sale_values(catalogue), *retention])
    dictionary_encoding.save(folder, _FILE_NAME, values.astype(np.float32))


def read(folder: Path) -> Floats:
    """Return the business values (items, GOALS) that ``write`` wrote."""
    return dictionary_encoding.load(folder, _FILE_NAME)


def reweight_scores(scores: Floats, factors: Floats | None) -> Floats:
    """Return scores (items,) times their factors; scores of 0 and below (excluded items) stay."""
    if factors is None:
        return scores
    return np.where(scores > 0, scores * factors, scores)


def score_factors(business_values: NDArray[np.floating], goals: Mapping[str, float]) -> NDArray[np.float32] | None:
    """Return the factors of scores (items,): the product over goals of (value / median value) ^ weight, 1 where unknown.

    Factors are bounded by 1/4 and 4; a negative value gets the smallest one. None if no goal has a weight or no product a
    value.

    Args:
        business_values: (items, GOALS) business value of each product by goal.
        goals: Weight of each goal by name.
    """
    known_goals = GOALS[: business_values.shape[1]]
    factors: list[NDArray[np.float64]] = []
    for name, weight in goals.items():
        if not weight or name not in known_goals:
            continue
        goal_factors = _goal_factors(np.asarray(business_values[:, GOALS.index(name)], np.float64), weight)
        if goal_factors is not None:
            factors.append(goal_factors)
    if not factors:
        return None
    return np.clip(np.prod(factors, axis=0), 1.0 / _MAX_FACTOR, _MAX_FACTOR).astype(np.float32)


def _goal_factors(values: NDArray[np.float64], weight: float) -> NDArray[np.float64] | None:
    """Factors (items,) by one goal; None if no value is known, or their median is not positive."""
    is_known = np.isfinite(values)
    if not is_known.any():
        return None
    median = float(np.median(values[is_known]))
    if median <= 0:
        return None
    ratio = np.where(is_known, values, median) / median
    return np.clip(ratio, 1.0 / _MAX_FACTOR, _MAX_FACTOR) ** weight
