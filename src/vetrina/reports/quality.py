"""Quality of versions on held-out data under one printed protocol."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from vetrina.api.shop import Shop
from vetrina.core import plugins
from vetrina.core.errors import BadInput
from vetrina.core.files import write_bytes
from vetrina.core.types import EvaluationData, Interval, MetricValues
from vetrina.evaluation.beyond_accuracy import BeyondAccuracyMetrics, beyond_accuracy_metrics
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.store.registry import Version

PROTOCOL = (
    "judged file (fit and validation only) on the holdout; the whole catalogue is ranked; products a user had before are left "
    "out where the version leaves them out; ties at half rank; at most 4,000 units; 95 % bootstrap of 2,000 resamples, seed 42"
)
_METRICS = {"recommend": ("NDCG@10", "Recall@10", "Recall@20", "MRR@20")}
_MAX_LISTS = 500  # rankings for metrics beyond accuracy


@dataclass(frozen=True)
class Quality:
    """Metrics of one version on held-out data.

    ``units`` counts users, queries or rows. ``figures`` are the metrics, ``slices`` the first of them by slice, ``alone``
    that of each model by itself, ``lists`` metrics beyond accuracy, ``gain`` the paired difference to the version compared
    with.
    """

    version: str
    protocol: str
    units: int
    figures: Mapping[str, Interval]
    slices: Mapping[str, Interval]
    alone: Mapping[str, Interval]
    lists: BeyondAccuracyMetrics | None
    gain: Interval | None


def measure_quality(shop: Shop, scenario: str, version: str | None = None, against: str | None = None) -> Quality:
    """Evaluate a version on the holdout of its own snapshot, and keep the result for its page.

    Args:
        shop: The shop.
        scenario: Scenario of the version.
        version: Version to evaluate; the champion unless named.
        against: Version to compare with on the same holdout.

    Raises:
        BadInput: A version is of another scenario or snapshot, or there is no held-out data.
    """
    record = _version_record(shop, scenario, version or shop.champion(scenario))
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    holdout = shop.splits(record).holdout()
    folder = shop.shop_context.version_folder(record.judged)
    scores: MetricValues = evaluation.evaluate(folder, holdout)
    if not len(scores.values):
        raise BadInput(scenario, "has no held-out data to judge by", "add purchases, judgments or a longer log")
    gain = None
    if against is not None:
        gain = _gain(shop, scenario, against, holdout, scores)
    list_metrics = None
    if scenario == "recommend":
        list_metrics = _list_metrics(scenario, folder)
    quality = Quality(
        version=record.name,
        protocol=PROTOCOL,
        units=len(scores.unit_ids),
        figures=_metric_intervals(scenario, evaluation, folder, holdout, scores),
        slices=_slice_intervals(scores),
        alone=_model_intervals(scenario, evaluation, folder, holdout, record.training.models),
        lists=list_metrics,
        gain=gain,
    )
    write_bytes(_quality_file(shop, quality.version), msgspec.json.encode(quality))
    return quality


def load_quality(shop: Shop, version: str) -> Quality | None:
    """The last result of ``measure_quality`` for a version; None without one."""
    file = _quality_file(shop, version)
    if not file.exists():
        return None
    return msgspec.json.decode(file.read_bytes(), type=Quality)


def quality_text(quality: Quality) -> str:
    """A quality as lines of text."""
    lines = [f"{quality.version}: {quality.units:,} units", f"protocol: {quality.protocol}"]
    for prefix, intervals in (("", quality.figures), ("slice: ", quality.slices), ("alone: ", quality.alone)):
        for name, interval in intervals.items():
            lines.append(f"  {prefix + name:<32} {interval.point:.4f} [{interval.low:.4f}, {interval.high:.4f}]")
    if quality.lists is not None:
        for name, value in asdict(quality.lists).items():
            lines.append(f"  {name.replace('_', ' '):<32} {value:.4f}")
    if quality.gain is not None:
        gain = quality.gain
        lines.append(f"  {'gain, paired':<32} {gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
    return "\n".join(lines)


def _version_record(shop: Shop, scenario: str, version: str) -> Version:
    """A version on record. Raises BadInput where it is of another scenario."""
    record = shop.shop_context.registry.get_version(version)
    if record.scenario != scenario:
        raise BadInput(record.name, f"is a version of {record.scenario}", f"name one of {scenario}")
    return record


def _gain(shop: Shop, scenario: str, against: str, holdout: EvaluationData, scores: MetricValues) -> Interval:
    """Paired difference to another version on the same units."""
    record = _version_record(shop, scenario, against)
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    reference: MetricValues = evaluation.evaluate(shop.shop_context.version_folder(record.judged), holdout)
    if reference.unit_ids != scores.unit_ids:
        raise BadInput(against, "knows other products or users", "compare versions of one snapshot")
    return paired_difference(scores.values, reference.values)


def _metric_intervals(
    scenario: str, evaluation: ModuleType, folder: Path, holdout: EvaluationData, scores: MetricValues
) -> dict[str, Interval]:
    """The scenario's own metric, and further ones where it has them."""
    intervals = {scores.metric: mean_interval(scores.values)}
    for metric in _METRICS.get(scenario, ()):
        if metric not in intervals:
            intervals[metric] = mean_interval(evaluation.evaluate(folder, holdout, metric=metric).values)
    return intervals


def _slice_intervals(scores: MetricValues) -> dict[str, Interval]:
    intervals = {}
    for name, inside in scores.slices.items():
        if inside.any():
            intervals[name] = mean_interval(scores.values[inside])
    return intervals


def _model_intervals(
    scenario: str, evaluation: ModuleType, folder: Path, holdout: EvaluationData, models: Mapping[str, Any]
) -> dict[str, Interval]:
    """The metric of each model by itself: of all models of recommend, of the baselines elsewhere."""
    baselines = plugins.load_module("scenarios", scenario, "recipe").RECIPE.baselines
    intervals = {}
    for name in models:
        if name in baselines or scenario == "recommend":
            intervals[name] = mean_interval(evaluation.evaluate(folder, holdout, only_model=name).values)
    return intervals


def _list_metrics(scenario: str, folder: Path) -> BeyondAccuracyMetrics | None:
    """Metrics of whole rankings: coverage, diversity, popularity. None where every ranking is empty."""
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    recommender = plugins.load_module("scenarios", scenario, "online").load(folder)
    answers = evaluation.answer_requests(folder, evaluation.sample_requests(folder, _MAX_LISTS))
    ranked_items = [recommender.catalogue.index_of(list(answer)) for answer in answers]
    if not any(len(items) for items in ranked_items):
        return None
    _, category_codes = recommender.catalogue.field_codes("category")
    return beyond_accuracy_metrics(ranked_items, recommender.item_counts, np.asarray(category_codes))


def _quality_file(shop: Shop, version: str) -> Path:
    return shop.folder.reports / f"{version}.quality.json"
