"""Whether brands and price bands are shown as often as shoppers take them.

Exposure of a product is 1 / log2(1 + place), summed over many answers; fair is a share of exposure like the share of what
shoppers took (exposure in proportion to merit: Singh and Joachims, KDD 2018). Unfairness is half the sum of the absolute
differences: the share of all exposure that would have to move.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.types import EvaluationData, Reason
from vetrina.metrics.bootstrap import resampled_means
from vetrina.retrieval.catalogue_index import CatalogueIndex

_MAX_REQUESTS = 500
_N_PRICE_BANDS = 4
_MIN_INTERACTIONS = 200
_MIN_BRAND_SHARE = 0.01
_MAX_POSITIONS = 10


def check_fairness(
    scenario: str, folder: Path, champion: Path | None, evaluation_data: EvaluationData, tolerance: float
) -> list[Reason]:
    """A reason for brands and one for price bands. A veto needs a candidate shown to be unfairer than the champion by more than
    ``tolerance`` (share of exposure)."""
    taken = _interacted_items(evaluation_data)
    if len(taken) < _MIN_INTERACTIONS:
        text = f"fairness of exposure not evaluable: {len(taken)} products taken, {_MIN_INTERACTIONS} asked for"
        return [Reason("fairness", True, text, {"taken": float(len(taken))}, evaluable=False)]
    shelf = CatalogueIndex(folder / "shelf")
    asked = plugins.load_module("scenarios", scenario, "evaluate").sample_requests(folder, _MAX_REQUESTS)
    shown = {
        side: _ranked_items(scenario, f, shelf, asked) for side, f in (("own", folder), ("champion", champion)) if f
    }
    reasons = []
    for what, group, names in (_brand_groups(shelf, taken), _price_band_groups(shelf)):
        merit = np.bincount(group[taken], minlength=len(names)) / len(taken)
        exposure = {side: _exposure_shares(items, group, len(names)) for side, items in shown.items()}
        if len(names) > 1:
            reasons.append(_fairness_reason(what, names, merit, exposure, tolerance))
    return reasons


def _fairness_reason(
    dimension: str,
    names: list[str],
    merit: NDArray[np.float64],
    exposure: dict[str, NDArray[np.float64]],
    tolerance: float,
) -> Reason:
    own = exposure["own"].mean(0)
    unfair = _exposure_disparity(own, merit)
    least = int((own - merit).argmin())
    text = (
        f"{dimension}: {unfair:.0%} of what is shown would have to move to match what shoppers take; least shown for it is "
        f"{names[least]} ({own[least]:.0%} of places, {merit[least]:.0%} of what is taken)"
    )
    numbers = {"unfairness": unfair}
    worse = False
    if "champion" in exposure:
        theirs = _exposure_disparity(exposure["champion"].mean(0), merit)
        gap = _disparity_gap_lower_bound(exposure["own"], exposure["champion"], merit)
        worse = gap > tolerance
        word = f"shown to be more than {tolerance:.0%} unfairer than" if worse else "not shown to be unfairer than"
        text += f"; {word} the champion's {theirs:.0%}"
        numbers |= {"champion": theirs, "low": gap}
    return Reason(f"fairness:{dimension}", not worse, text, numbers)


def _disparity_gap_lower_bound(
    own: NDArray[np.float64], champion: NDArray[np.float64], merit: NDArray[np.float64]
) -> float:
    """The lower 95 % bound of how much unfairer the candidate is, over the same requests."""
    both = np.concatenate([own, champion], 1)
    k = len(merit)
    draws = np.stack([resampled_means(both[:, c]) for c in range(2 * k)], 1)
    gaps = 0.5 * (np.abs(draws[:, :k] - merit).sum(1) - np.abs(draws[:, k:] - merit).sum(1))
    return float(np.quantile(gaps, 0.025))


def _exposure_disparity(exposure: NDArray[np.float64], merit: NDArray[np.float64]) -> float:
    return float(0.5 * np.abs(exposure - merit).sum())


def _interacted_items(evaluation_data: EvaluationData) -> NDArray[np.intp]:
    """Catalogue indices of what shoppers took."""
    if evaluation_data.targets is not None and evaluation_data.targets.items:
        items = np.concatenate(evaluation_data.targets.items)
    elif evaluation_data.judgments is not None:
        items = evaluation_data.judgments.item[evaluation_data.judgments.grade > 0]
    else:
        return np.empty(0, np.intp)
    return items[items >= 0].astype(np.intp)


def _ranked_items(scenario: str, folder: Path, catalogue: CatalogueIndex, requests: list) -> list[NDArray[np.int32]]:
    answers = plugins.load_module("scenarios", scenario, "evaluate").answer_requests(folder, requests)
    return [catalogue.index_of(list(a)[:_MAX_POSITIONS]) for a in answers]


def _exposure_shares(
    ranked_items: list[NDArray[np.int32]], group: NDArray[np.intp], groups: int
) -> NDArray[np.float64]:
    """(requests, groups) shares of exposure; an empty answer shows nothing."""
    worth = 1.0 / np.log2(2.0 + np.arange(_MAX_POSITIONS))
    rows = np.zeros((len(ranked_items), groups))
    for row, items in enumerate(ranked_items):
        known = items >= 0
        rows[row] = np.bincount(group[items[known]], worth[: len(items)][known], groups)
    total = rows.sum(1, keepdims=True)
    return np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)


def _brand_groups(catalogue: CatalogueIndex, interacted: NDArray[np.intp]) -> tuple[str, NDArray[np.intp], list[str]]:
    """Brands that shoppers take at least now and then; all others are one group."""
    known, codes = catalogue.field_codes("brand")
    counts = np.bincount(codes[interacted], minlength=len(known))
    kept = [i for i in range(len(known)) if known[i] and counts[i] >= _MIN_BRAND_SHARE * len(interacted)]
    place = np.full(len(known), len(kept))
    place[kept] = np.arange(len(kept))
    return "brands", place[codes], [*(known[i] for i in kept), "other brands"]


def _price_band_groups(catalogue: CatalogueIndex) -> tuple[str, NDArray[np.intp], list[str]]:
    """Quarters of the catalogue by price, and products without one."""
    price = np.asarray(catalogue.sort_key("price"))
    there = np.isfinite(price)
    if not there.any():
        return "price bands", np.zeros(len(price), np.intp), ["no price"]
    cuts = np.quantile(price[there], np.linspace(0, 1, _N_PRICE_BANDS + 1)[1:-1])
    names = [f"up to {cuts[0]:.2f}", *(f"{a:.2f} to {b:.2f}" for a, b in pairwise(cuts))]
    band = np.where(there, np.searchsorted(cuts, np.nan_to_num(price)), _N_PRICE_BANDS)
    return "price bands", band, [*names, f"above {cuts[-1]:.2f}", "without a price"]
