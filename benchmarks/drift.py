"""The drift monitor on a made-up shop: false alarms on quiet days, and how soon a planted shift is found.

Protocol: 300 products; 28 days to compare with, then 100 days one after the other, each compared with the up to 56 days
before it, all features of shop and answers together (no texts). Visits and what is wanted follow the week; with *wobble* the
demand for every category also differs by 5 % from day to day. A false alarm is any alarm on a quiet day, be it drift on two
of three days, a sure loss or lost calibration, counted on the day it is first said; the goal is at most 1 in 100 days.
Planted: from one day on the prices that a tenth of the shoppers meet are half a standard deviation (of the log) higher; found
means said by the evening of the second day.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy.stats import chi2

from benchmarks.record import row
from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.health_types import CurrentWindow, DailyStatistics, HealthReport, ReferenceWindow
from vetrina.monitor import monitor, persistent_drift
from vetrina.monitor.alerts import find_alerts
from vetrina.monitor.log_statistics import answer_statistics, event_statistics
from vetrina.simulate.traffic import NO_SHIFT, PriceShift, Traffic, write_catalogue_index
from vetrina.simulate.world import World

_BEFORE = 28
_QUIET = 100
_FIRST = 20_000
_MEMORY = 56
_SHIFT = PriceShift(0.1, 0.5)


def days(
    traffic: Traffic, catalogue: CatalogueIndex, numbers: range, shift: PriceShift, bin_edges: tuple
) -> Iterator[tuple[DailyStatistics, DailyStatistics]]:
    """Each day of both parts, measured as the first."""
    for number in numbers:
        events, answers = traffic.day(number, shift)
        shop = event_statistics(number, events, catalogue, None, bin_edges[0])
        answer_day = answer_statistics("recommend", number, "v", answers, catalogue, None, bin_edges[1])
        bin_edges = shop.rulers, answer_day.rulers
        yield shop, answer_day


def report(both: list[tuple[DailyStatistics, DailyStatistics]], at: int) -> HealthReport:
    """Day ``at`` beside those before it."""
    earlier = both[max(0, at - _MEMORY) : at]
    shop, answers = both[at]
    window = CurrentWindow("recommend", shop, answers, (shop.number + 1) * 86_400.0)
    return monitor(window, ReferenceWindow("v", 0.0, 300, [s for s, _ in earlier], [a for _, a in earlier]))


def quiet(case: tuple[int, int, float]) -> tuple[int, int, int]:
    """Quiet days looked at, false alarms on them, and days on which some feature drifted for itself."""
    seed, shoppers, wobble = case
    traffic = _traffic(seed, shoppers, wobble)
    with tempfile.TemporaryDirectory() as folder:
        catalogue = write_catalogue_index(traffic.world, Path(folder))
        all_days = list(days(traffic, catalogue, range(_FIRST, _FIRST + _BEFORE + _QUIET), NO_SHIFT, ({}, {})))
    reports = [report(all_days, at) for at in range(_BEFORE, len(all_days))]
    codes_by_day = [{a.code for a in find_alerts(reports[max(0, n - 2) : n + 1])} for n in range(len(reports))]
    false = sum(bool(now - before) for before, now in zip([set(), *codes_by_day], codes_by_day, strict=False))
    return len(reports), false, sum(any(d.drifted for d in r.drift.values()) for r in reports)


def planted(case: tuple[int, int, float]) -> bool:
    """Whether a shift is said by the evening of its second day."""
    seed, shoppers, wobble = case
    traffic = _traffic(1_000 + seed, shoppers, wobble)
    with tempfile.TemporaryDirectory() as folder:
        catalogue = write_catalogue_index(traffic.world, Path(folder))
        all_days = list(days(traffic, catalogue, range(_FIRST, _FIRST + _BEFORE), NO_SHIFT, ({}, {})))
        bin_edges = all_days[-1][0].rulers, all_days[-1][1].rulers
        all_days += days(traffic, catalogue, range(_FIRST + _BEFORE, _FIRST + _BEFORE + 2), _SHIFT, bin_edges)
    return "price in events" in persistent_drift(
        [report(all_days, len(all_days) - 2), report(all_days, len(all_days) - 1)]
    )


def main() -> None:
    """By traffic, without and with wobble."""
    with ProcessPoolExecutor(2) as pool:
        for wobble in (0.0, 0.05):
            for shoppers, shops in ((1_000, 10), (3_000, 10), (10_000, 10)):
                cases = [(seed, shoppers, wobble) for seed in range(shops)]
                looked, false, single = np.array(list(pool.map(quiet, cases))).sum(0).tolist()
                low, high = _poisson(false)
                value = (
                    f"{100 * false / looked:.2f} [{100 * low / looked:.2f}, {100 * high / looked:.2f}] false alarms in 100 quiet "
                    f"days ({looked:,} days; some feature drifted for itself on {single / looked:.1%})"
                )
                row(f"{shoppers:,} shoppers a day, wobble {wobble:.0%}", value, "goal: at most 1")
        for wobble in (0.0, 0.05):
            for shoppers in (1_000, 3_000, 5_000, 10_000, 30_000):
                results = list(pool.map(planted, [(seed, shoppers, wobble) for seed in range(40)]))
                row(
                    f"planted, {shoppers:,} shoppers, wobble {wobble:.0%}",
                    f"found in 2 days in {sum(results)} of 40 shops",
                )


def _traffic(seed: int, shoppers: int, wobble: float) -> Traffic:
    return Traffic(World(products=300, users=4 * shoppers, seed=seed), shoppers, wobble, seed)


def _poisson(count: int) -> tuple[float, float]:
    """The 95 % interval of a count (Garwood 1936)."""
    return (float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0), float(chi2.ppf(0.975, 2 * count + 2)) / 2
