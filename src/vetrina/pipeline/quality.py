"""Scores versions of one scenario on the same held-out data, under the protocol that it prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.files import write_bytes
from vetrina.core.types import Interval, MetricValues
from vetrina.metrics.beyond_accuracy import BeyondAccuracyMetrics, beyond_accuracy_metrics
from vetrina.metrics.bootstrap import mean_interval, paired_difference
from vetrina.pipeline.api import Shop

PROTOCOL = (
    "judged file (fit and validation only) on the holdout; the whole catalogue is ranked; what a shopper had is left out where "
    "the version leaves it out; ties at half rank; at most 4,000 units; 95 % bootstrap of 2,000 draws, seed 42"
)
_METRICS = {"recommend": ("NDCG@10", "Recall@10", "Recall@20", "MRR@20")}
_MAX_LISTS = 500


@dataclass(frozen=True)
class Quality:
    """Figures of one version. ``alone`` are its models by themselves, ``gain`` is over the version it was compared with."""

    version: str
    protocol: str
    units: int
    figures: Mapping[str, Interval]
    slices: Mapping[str, Interval]
    alone: Mapping[str, Interval]
    lists: BeyondAccuracyMetrics | None
    gain: Interval | None


def measure_quality(shop: Shop, scenario: str, version: str | None = None, against: str | None = None) -> Quality:
    """``version`` (the champion unless named) on the holdout of its own snapshot, ``against`` on the same; kept for its page.

    Raises BadInput.
    """
    registry = shop.shop_context.registry
    shown = registry.get_version(version or shop.champion(scenario))
    if shown["scenario"] != scenario:
        raise BadInput(shown["version"], f"is a version of {shown['scenario']}", f"name one of {scenario}")
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    holdout = shop.splits(shown).holdout()
    folder = shop.shop_context.version_folder(shown["judged"])
    first: MetricValues = evaluation.evaluate(folder, holdout)
    if not len(first.values):
        raise BadInput(scenario, "has no held-out data to judge by", "add purchases, judgments or a longer log")
    figures = {first.metric: mean_interval(first.values)}
    for metric in _METRICS.get(scenario, ()):
        if metric not in figures:
            figures[metric] = mean_interval(evaluation.evaluate(folder, holdout, metric=metric).values)
    baselines = plugins.load_module("scenarios", scenario, "recipe").RECIPE.baselines
    names = [m for m in shown["notes"]["models"] if m in baselines or scenario == "recommend"]
    gain = None
    if against is not None:
        other = registry.get_version(against)
        if other["scenario"] != scenario:
            raise BadInput(against, f"is a version of {other['scenario']}", f"name one of {scenario}")
        reference = evaluation.evaluate(shop.shop_context.version_folder(other["judged"]), holdout)
        if reference.unit_ids != first.unit_ids:
            raise BadInput(against, "knows other products or users", "compare versions of one snapshot")
        gain = paired_difference(first.values, reference.values)
    found = Quality(
        version=shown["version"],
        protocol=PROTOCOL,
        units=len(first.unit_ids),
        figures=figures,
        slices={name: mean_interval(first.values[inside]) for name, inside in first.slices.items() if inside.any()},
        alone={name: mean_interval(evaluation.evaluate(folder, holdout, only_model=name).values) for name in names},
        lists=_list_metrics(scenario, folder) if scenario == "recommend" else None,
        gain=gain,
    )
    write_bytes(_quality_file(shop, found.version), msgspec.json.encode(found))
    return found


def load_quality(shop: Shop, version: str) -> Quality | None:
    """What ``quality`` found of a version last; None where nobody asked."""
    path = _quality_file(shop, version)
    return msgspec.json.decode(path.read_bytes(), type=Quality) if path.exists() else None


def _quality_file(shop: Shop, version: str) -> Path:
    return shop.folder.reports / f"{version}.quality.json"


def _list_metrics(scenario: str, folder: Any) -> BeyondAccuracyMetrics | None:
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    opened = plugins.load_module("scenarios", scenario, "online").load(folder)
    counts = opened.item_counts
    answers = evaluation.answer_requests(folder, evaluation.sample_requests(folder, _MAX_LISTS))
    lists = [opened.catalogue.index_of(list(row)) for row in answers]
    if not any(map(len, lists)):
        return None
    return beyond_accuracy_metrics(lists, counts, np.asarray(opened.catalogue.coded("category")[1]))


def quality_text(quality: Quality) -> str:
    """As lines for a person."""
    rows = [f"{quality.version}: {quality.units:,} units", f"protocol: {quality.protocol}"]
    tables = {"": quality.figures, "slice: ": quality.slices, "alone: ": quality.alone}
    rows += [
        f"  {head + name:<32} {i.point:.4f} [{i.low:.4f}, {i.high:.4f}]"
        for head, table in tables.items()
        for name, i in table.items()
    ]
    if quality.lists is not None:
        rows += [f"  {name.replace('_', ' '):<32} {value:.4f}" for name, value in asdict(quality.lists).items()]
    if quality.gain is not None:
        g = quality.gain
        rows.append(f"  {'gain, paired':<32} {g.point:+.4f} [{g.low:+.4f}, {g.high:+.4f}]")
    return "\n".join(rows)
