"""What a sale of each product is worth to the shop, and how a goal bends an order towards it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import dictionary_encoding
from vetrina.core.types import Catalogue, Floats

GOALS = ("revenue", "margin", "retention_7", "retention_28")
TRAINABLE_GOALS = GOALS[:2]  # those that events can be weighed by before anything is learnt
_MAX_FACTOR = 4.0  # no product is lifted or lowered by more than this factor


def sale_values(catalogue: Catalogue) -> NDArray[np.float64]:
    """(items, TRAINED): price, and price less cost, of what is not sent back; NaN where either is unknown."""
    costs = catalogue.costs if len(catalogue.costs) else np.full(len(catalogue), np.nan)
    stays = 1.0 - catalogue.return_rates if len(catalogue.return_rates) else np.ones(len(catalogue))
    return np.stack([catalogue.prices * stays, (catalogue.prices - costs) * stays], 1)


def write(catalogue: Catalogue, retention: Sequence[Floats], path: Path) -> None:
    """(items, GOALS) float32: ``of``, and the shares of users (items,) who come back within 7 and 28 days."""
    dictionary_encoding.save(
        path.parent, path.stem, np.column_stack([sale_values(catalogue), *retention]).astype(np.float32)
    )


def read(path: Path) -> Floats:
    """What ``write`` wrote."""
    return dictionary_encoding.load(path.parent, path.stem)


def reweight_scores(scores: Floats, factors: Floats | None) -> Floats:
    """(items,) scores with their ``lift``; what scores nothing, or must not be shown, stays where it is."""
    return scores if factors is None else np.where(scores > 0, scores * factors, scores)


def score_factors(business_values: NDArray[np.floating], goals: Mapping[str, float]) -> NDArray[np.float32] | None:
    """(items,) what scores are multiplied by: the product over goals of (worth / median worth) ^ weight, 1 where it is unknown.

    None where no goal weighs anything or nothing is known of any product. A loss counts as the smallest gain.
    """
    found: NDArray[np.float64] | None = None
    for name, weight in goals.items():
        if not weight or name not in GOALS[: business_values.shape[1]]:
            continue
        values = np.asarray(business_values[:, GOALS.index(name)], np.float64)
        known = np.isfinite(values)
        if not known.any() or (middle := float(np.median(values[known]))) <= 0:
            continue
        ratio = np.clip(np.where(known, values, middle) / middle, 1.0 / _MAX_FACTOR, _MAX_FACTOR) ** weight
        found = ratio if found is None else found * ratio
    return None if found is None else np.clip(found, 1.0 / _MAX_FACTOR, _MAX_FACTOR).astype(np.float32)
