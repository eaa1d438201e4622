"""Fairness of exposure: share of impressions against share of demand, by brand and price band.

The exposure of a product is 1 / log2(1 + position), summed over many answers. A group is treated fairly if its share of exposure
equals its share of what users interacted with (exposure in proportion to merit: Singh and Joachims, KDD 2018). The disparity is
half the sum of the absolute differences: the share of all exposure that would have to be reallocated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.types import EvaluationData, Reason
from vetrina.evaluation.bootstrap import resampled_means
from vetrina.scenarios.base import find_scenario

_MAX_REQUESTS = 500
_N_PRICE_BANDS = 4
_MIN_INTERACTIONS = 200
_MIN_BRAND_SHARE = 0.01  # of the interactions; rarer brands are one group
_MAX_POSITIONS = 10  # of an answer
_LOWER_QUANTILE = 0.025  # of a two-sided 95 % interval


@dataclass(frozen=True)
class _Grouping:
    """A dimension by which products are grouped: ``codes`` (products,) index ``names``."""

    dimension: str
    codes: NDArray[np.intp]
    names: list[str]


def check_fairness(
    scenario: str, folder: Path, champion: Path | None, evaluation_data: EvaluationData, tolerance: float
) -> list[Reason]:
    """A reason for brands and one for price bands.

    A veto needs a candidate that is unfairer than the champion by more than ``tolerance`` at the 95 % level.

    Args:
        scenario: Scenario that ranks products.
        folder: Folder of the candidate.
        champion: Folder of the champion, None where nothing serves yet.
        evaluation_data: Holdout; its interactions are the demand.
        tolerance: Share of exposure.
    """
    interacted = _interacted_items(evaluation_data)
    if len(interacted) < _MIN_INTERACTIONS:
        text = f"fairness of exposure not evaluable: {len(interacted)} interactions, {_MIN_INTERACTIONS} required"
        return [Reason("fairness", True, text, {"taken": float(len(interacted))}, evaluable=False)]
    catalogue = CatalogueIndex(folder / "catalogue")
    requests = find_scenario(scenario).sample_requests(folder, _MAX_REQUESTS)
    rankings = {"own": _ranked_items(scenario, folder, catalogue, requests)}
    if champion is not None:
        rankings["champion"] = _ranked_items(scenario, champion, catalogue, requests)
    reasons: list[Reason] = []
    for grouping in (_brand_groups(catalogue, interacted), _price_band_groups(catalogue)):
        n_groups = len(grouping.names)
        if n_groups < 2:
            continue
        demand = np.bincount(grouping.codes[interacted], minlength=n_groups) / len(interacted)
        exposure = {
            side: _exposure_shares(ranked_items, grouping.codes, n_groups) for side, ranked_items in rankings.items()
        }
        reasons.append(_fairness_reason(grouping, demand, exposure, tolerance))
    return reasons


def _fairness_reason(
    grouping: _Grouping,
    demand: NDArray[np.float64],
    exposure: Mapping[str, NDArray[np.float64]],
    tolerance: float,
) -> Reason:
    """``demand`` (groups,) shares, ``exposure`` (requests, groups) shares of the candidate and, if there is one, the champion."""
    own = exposure["own"].mean(0)
    disparity = _exposure_disparity(own, demand)
    lowest = int((own - demand).argmin())
    text = (
        f"{grouping.dimension}: {disparity:.0%} of exposure would have to be reallocated to match demand; the most under-exposed "
        f"group is {grouping.names[lowest]} ({own[lowest]:.0%} of exposure, {demand[lowest]:.0%} of demand)"
    )
    numbers = {"unfairness": disparity}
    is_unfairer = False
    if "champion" in exposure:
        champion_disparity = _exposure_disparity(exposure["champion"].mean(0), demand)
        gap = _disparity_gap_lower_bound(exposure["own"], exposure["champion"], demand)
        is_unfairer = gap > tolerance
        finding = "not shown to be unfairer than"
        if is_unfairer:
            finding = f"shown to be more than {tolerance:.0%} unfairer than"
        text += f"; {finding} the champion's {champion_disparity:.0%}"
        numbers |= {"champion": champion_disparity, "low": gap}
    return Reason(f"fairness:{grouping.dimension}", not is_unfairer, text, numbers)


def _disparity_gap_lower_bound(
    own: NDArray[np.float64], champion: NDArray[np.float64], demand: NDArray[np.float64]
) -> float:
    """Lower 95 % bound of the candidate's disparity less the champion's, over the same requests."""
    n_groups = len(demand)
    both = np.concatenate([own, champion], 1)
    resampled = np.stack([resampled_means(both[:, column]) for column in range(2 * n_groups)], 1)
    own_differences = np.abs(resampled[:, :n_groups] - demand).sum(1)
    champion_differences = np.abs(resampled[:, n_groups:] - demand).sum(1)
    gaps = 0.5 * (own_differences - champion_differences)
    return float(np.quantile(gaps, _LOWER_QUANTILE))


def _exposure_disparity(exposure: NDArray[np.float64], demand: NDArray[np.float64]) -> float:
    return float(0.5 * np.abs(exposure - demand).sum())


def _interacted_items(evaluation_data: EvaluationData) -> NDArray[np.intp]:
    """Catalogue indices of the products that users interacted with, or that judges found relevant; one for each time."""
    if evaluation_data.targets is not None and evaluation_data.targets.items:
        items = np.concatenate(evaluation_data.targets.items)
    elif evaluation_data.judgments is not None:
        items = evaluation_data.judgments.item[evaluation_data.judgments.grade > 0]
    else:
        return np.empty(0, np.intp)
    return items[items >= 0].astype(np.intp)


def _ranked_items(
    scenario: str, folder: Path, catalogue: CatalogueIndex, requests: Sequence[object]
) -> list[NDArray[np.int32]]:
    """Catalogue indices of the first positions of each answer."""
    answers = find_scenario(scenario).answer_requests(folder, requests)
    return [catalogue.index_of(list(answer)[:_MAX_POSITIONS]) for answer in answers]


def _exposure_shares(
    ranked_items: list[NDArray[np.int32]], group: NDArray[np.intp], n_groups: int
) -> NDArray[np.float64]:
    """(requests, groups) shares of exposure; zeros for an empty answer."""
    position_exposure = 1.0 / np.log2(2.0 + np.arange(_MAX_POSITIONS))
    rows = np.zeros((len(ranked_items), n_groups))
    for row, items in enumerate(ranked_items):
        in_catalogue = items >= 0
        exposure = position_exposure[: len(items)]
        rows[row] = np.bincount(group[items[in_catalogue]], exposure[in_catalogue], n_groups)
    total = rows.sum(1, keepdims=True)
    return np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)


def _brand_groups(catalogue: CatalogueIndex, interacted: NDArray[np.intp]) -> _Grouping:
    """Brands with at least one in a hundred interactions; all others are one group."""
    brands, codes = catalogue.field_codes("brand")
    counts = np.bincount(codes[interacted], minlength=len(brands))
    min_count = _MIN_BRAND_SHARE * len(interacted)
    frequent = [code for code in range(len(brands)) if brands[code] and counts[code] >= min_count]
    group_of_brand = np.full(len(brands), len(frequent))
    group_of_brand[frequent] = np.arange(len(frequent))
    names = [brands[code] for code in frequent]
    return _Grouping("brands", group_of_brand[codes], [*names, "other brands"])


def _price_band_groups(catalogue: CatalogueIndex) -> _Grouping:
    """Quarters of the catalogue by price, and products without one."""
    price = np.asarray(catalogue.sort_key("price"))
    has_price = np.isfinite(price)
    if not has_price.any():
        return _Grouping("price bands", np.zeros(len(price), np.intp), ["no price"])
    inner_quantiles = np.linspace(0, 1, _N_PRICE_BANDS + 1)[1:-1]
    cuts = np.quantile(price[has_price], inner_quantiles)
    names = [f"up to {cuts[0]:.2f}"]
    for low, high in pairwise(cuts):
        names.append(f"{low:.2f} to {high:.2f}")
    names.append(f"above {cuts[-1]:.2f}")
    names.append("without a price")
    band = np.where(has_price, np.searchsorted(cuts, np.nan_to_num(price)), _N_PRICE_BANDS)
    return _Grouping("price bands", band, names)
