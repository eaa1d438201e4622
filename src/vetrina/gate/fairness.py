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
from vetrina.core.types import Evidence, Reason
from vetrina.metrics.bootstrap import resampled_means
from vetrina.retrieval.shelf import Shelf

_REQUESTS, _BANDS, _LEAST_TAKEN, _LEAST_SHARE = 500, 4, 200, 0.01
_PLACES = 10


def fairness(scenario: str, folder: Path, champion: Path | None, evidence: Evidence, tolerance: float) -> list[Reason]:
    """A reason for brands and one for price bands. A veto needs a candidate shown to be unfairer than the champion by more than
    ``tolerance`` (share of exposure)."""
    taken = _taken(evidence)
    if len(taken) < _LEAST_TAKEN:
        text = f"fairness of exposure not evaluable: {len(taken)} products taken, {_LEAST_TAKEN} asked for"
        return [Reason("fairness", True, text, {"taken": float(len(taken))}, evaluable=False)]
    shelf = Shelf(folder / "shelf")
    asked = plugins.part("scenarios", scenario, "evaluate").requests(folder, _REQUESTS)
    shown = {side: _shown(scenario, f, shelf, asked) for side, f in (("own", folder), ("champion", champion)) if f}
    reasons = []
    for what, group, names in (_brands(shelf, taken), _bands(shelf)):
        merit = np.bincount(group[taken], minlength=len(names)) / len(taken)
        exposure = {side: _exposure(items, group, len(names)) for side, items in shown.items()}
        if len(names) > 1:
            reasons.append(_reason(what, names, merit, exposure, tolerance))
    return reasons


def _reason(
    what: str,
    names: list[str],
    merit: NDArray[np.float64],
    exposure: dict[str, NDArray[np.float64]],
    tolerance: float,
) -> Reason:
    own = exposure["own"].mean(0)
    unfair = _distance(own, merit)
    least = int((own - merit).argmin())
    text = (
        f"{what}: {unfair:.0%} of what is shown would have to move to match what shoppers take; least shown for it is "
        f"{names[least]} ({own[least]:.0%} of places, {merit[least]:.0%} of what is taken)"
    )
    numbers, worse = {"unfairness": unfair}, False
    if "champion" in exposure:
        theirs = _distance(exposure["champion"].mean(0), merit)
        gap = _gap(exposure["own"], exposure["champion"], merit)
        worse = gap > tolerance
        word = f"shown to be more than {tolerance:.0%} unfairer than" if worse else "not shown to be unfairer than"
        text += f"; {word} the champion's {theirs:.0%}"
        numbers |= {"champion": theirs, "low": gap}
    return Reason(f"fairness:{what}", not worse, text, numbers)


def _gap(own: NDArray[np.float64], champion: NDArray[np.float64], merit: NDArray[np.float64]) -> float:
    """The lower 95 % bound of how much unfairer the candidate is, over the same requests."""
    both = np.concatenate([own, champion], 1)
    k = len(merit)
    draws = np.stack([resampled_means(both[:, c]) for c in range(2 * k)], 1)
    gaps = 0.5 * (np.abs(draws[:, :k] - merit).sum(1) - np.abs(draws[:, k:] - merit).sum(1))
    return float(np.quantile(gaps, 0.025))


def _distance(shown: NDArray[np.float64], merit: NDArray[np.float64]) -> float:
    return float(0.5 * np.abs(shown - merit).sum())


def _taken(evidence: Evidence) -> NDArray[np.intp]:
    """Catalogue indices of what shoppers took."""
    if evidence.targets is not None and evidence.targets.items:
        items = np.concatenate(evidence.targets.items)
    elif evidence.judgments is not None:
        items = evidence.judgments.item[evidence.judgments.grade > 0]
    else:
        return np.empty(0, np.intp)
    return items[items >= 0].astype(np.intp)


def _shown(scenario: str, folder: Path, shelf: Shelf, asked: list) -> list[NDArray[np.int32]]:
    answers = plugins.part("scenarios", scenario, "evaluate").answers(folder, asked)
    return [shelf.index_of(list(a)[:_PLACES]) for a in answers]


def _exposure(shown: list[NDArray[np.int32]], group: NDArray[np.intp], groups: int) -> NDArray[np.float64]:
    """(requests, groups) shares of exposure; an empty answer shows nothing."""
    worth = 1.0 / np.log2(2.0 + np.arange(_PLACES))
    rows = np.zeros((len(shown), groups))
    for row, items in enumerate(shown):
        known = items >= 0
        rows[row] = np.bincount(group[items[known]], worth[: len(items)][known], groups)
    total = rows.sum(1, keepdims=True)
    return np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)


def _brands(shelf: Shelf, taken: NDArray[np.intp]) -> tuple[str, NDArray[np.intp], list[str]]:
    """Brands that shoppers take at least now and then; all others are one group."""
    known, codes = shelf.coded("brand")
    counts = np.bincount(codes[taken], minlength=len(known))
    kept = [i for i in range(len(known)) if known[i] and counts[i] >= _LEAST_SHARE * len(taken)]
    place = np.full(len(known), len(kept))
    place[kept] = np.arange(len(kept))
    return "brands", place[codes], [*(known[i] for i in kept), "other brands"]


def _bands(shelf: Shelf) -> tuple[str, NDArray[np.intp], list[str]]:
    """Quarters of the catalogue by price, and products without one."""
    price = np.asarray(shelf.sort_key("price"))
    there = np.isfinite(price)
    if not there.any():
        return "price bands", np.zeros(len(price), np.intp), ["no price"]
    cuts = np.quantile(price[there], np.linspace(0, 1, _BANDS + 1)[1:-1])
    names = [f"up to {cuts[0]:.2f}", *(f"{a:.2f} to {b:.2f}" for a, b in pairwise(cuts))]
    band = np.where(there, np.searchsorted(cuts, np.nan_to_num(price)), _BANDS)
    return "price bands", band, [*names, f"above {cuts[-1]:.2f}", "without a price"]
