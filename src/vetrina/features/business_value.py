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
    costs = catalogue.costs if len(catalogue.costs) else np.full(len(catalogue), np.nan)
    kept_share = 1.0 - catalogue.return_rates if len(catalogue.return_rates) else np.ones(len(catalogue))
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
    return scores if factors is None else np.where(scores > 0, scores * factors, scores)


def score_factors(business_values: NDArray[np.floating], goals: Mapping[str, float]) -> NDArray[np.float32] | None:
    """Return the factors of scores (items,): the product over goals of (value / median value) ^ weight, 1 where unknown.

    Factors are bounded by 1/4 and 4; a negative value gets the smallest one. None if no goal has a weight or no product a
    value.

    Args:
        business_values: (items, GOALS) business value of each product by goal.
        goals: Weight of each goal by name.
    """
    factors: NDArray[np.float64] | None = None
    for name, weight in goals.items():
        if not weight or name not in GOALS[: business_values.shape[1]]:
            continue
        values = np.asarray(business_values[:, GOALS.index(name)], np.float64)
        is_known = np.isfinite(values)
        if not is_known.any() or (median := float(np.median(values[is_known]))) <= 0:
            continue
        ratio = np.clip(np.where(is_known, values, median) / median, 1.0 / _MAX_FACTOR, _MAX_FACTOR) ** weight
        factors = ratio if factors is None else factors * ratio
    return None if factors is None else np.clip(factors, 1.0 / _MAX_FACTOR, _MAX_FACTOR).astype(np.float32)
