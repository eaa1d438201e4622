"""Quality of versions on held-out data under one printed protocol."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from vetrina.api.shop import Shop
from vetrina.core.errors import BadInput
from vetrina.core.evaluation_data import EvaluationData, Interval, MetricValues
from vetrina.core.files import write_bytes
from vetrina.evaluation.beyond_accuracy import BeyondAccuracyMetrics
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.scenarios.base import Scenario, find_scenario
from vetrina.store.registry import Version


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
    evaluated = find_scenario(scenario)
    holdout = shop.splits(record).holdout()
    folder = shop.shop_context.version_folder(record.judged)
    scores = evaluated.evaluate(folder, holdout)
    if not len(scores.values):
        raise BadInput(scenario, "has no held-out data to judge by", "add purchases, judgments or a longer log")
    gain = None
    if against is not None:
        gain = _gain(shop, evaluated, against, holdout, scores)
    quality = Quality(
        version=record.name,
        protocol=evaluated.protocol,
        units=len(scores.unit_ids),
        figures=_metric_intervals(evaluated, folder, holdout, scores),
        slices=_slice_intervals(scores),
        alone=_model_intervals(evaluated, folder, holdout, record.training.models),
        lists=evaluated.list_metrics(folder),
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


def _gain(shop: Shop, scenario: Scenario, against: str, holdout: EvaluationData, scores: MetricValues) -> Interval:
    """Paired difference to another version on the same units."""
    record = _version_record(shop, scenario.name, against)
    reference = scenario.evaluate(shop.shop_context.version_folder(record.judged), holdout)
    if reference.unit_ids != scores.unit_ids:
        raise BadInput(against, "knows other products or users", "compare versions of one snapshot")
    return paired_difference(scores.values, reference.values)


def _metric_intervals(
    scenario: Scenario, folder: Path, holdout: EvaluationData, scores: MetricValues
) -> dict[str, Interval]:
    """The scenario's own metric, and further ones where it has them."""
    intervals = {scores.metric: mean_interval(scores.values)}
    for further in scenario.further_metrics(folder, holdout):
        intervals[further.metric] = mean_interval(further.values)
    return intervals


def _slice_intervals(scores: MetricValues) -> dict[str, Interval]:
    intervals = {}
    for name, inside in scores.slices.items():
        if inside.any():
            intervals[name] = mean_interval(scores.values[inside])
    return intervals


def _model_intervals(
    scenario: Scenario, folder: Path, holdout: EvaluationData, models: Iterable[str]
) -> dict[str, Interval]:
    """The metric of each model by itself: of all models where the scenario reports them, else of the baselines."""
    intervals = {}
    for name in models:
        if scenario.reports_every_model or name in scenario.recipe.baselines:
            intervals[name] = mean_interval(scenario.evaluate(folder, holdout, only_model=name).values)
    return intervals


def _quality_file(shop: Shop, version: str) -> Path:
    return shop.folder.reports / f"{version}.quality.json"
