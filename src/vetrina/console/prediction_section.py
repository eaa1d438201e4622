"""The part of a report that shows how well a table's label is told: figures with intervals, curves, the rules of a tree."""

from functools import partial
from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vetrina.console.charts import to_svg
from vetrina.core.errors import NotFound
from vetrina.core.labelled_tables import LabelledTable, LabelScaler
from vetrina.core.types import Interval
from vetrina.metrics.classification import classification_metrics, precision_recall_curve, roc_curve
from vetrina.metrics.regression import regression_metrics
from vetrina.pipeline.api import Shop
from vetrina.scenarios.predict.online import Predictor
from vetrina.scenarios.predict.rules import split_conditions

_MAX_CHART_POINTS = 2_000
_BLUE = "#2456a6"
_GREY = "#99a"


def prediction_section(shop: Shop, version_record: dict[str, Any]) -> str:
    """HTML about one version. Raises NotFound where its table is gone."""
    opened = shop.load("predict", version_record["version"])
    table = shop.splits(version_record).holdout().table
    if table is None:
        raise NotFound(version_record["version"], "has lost its table", "ingest the table again")
    scale = opened.encoding.number
    figures, drawing, how = (
        _classification_figures(opened, table) if scale is None else _regression_figures(opened, table, scale)
    )
    rows = "".join(
        f"<tr><td>{name}</td><td>{one.point:.4f} (95 % interval {one.low:.4f} to {one.high:.4f})</td></tr>"
        for name, one in figures.items()
    )
    protocol = f"{len(table)} rows held out (20 %, seed 42), model {' + '.join(opened.active_models)}{how}"
    figure = f"<figure>{to_svg(drawing)}</figure>"
    return f"<h2>Quality</h2><p>{protocol}.</p><table>{rows}</table>{figure}{_tree_rules(opened, scale)}"


def _classification_figures(predictor: Predictor, table: LabelledTable) -> tuple[dict[str, Interval], Figure, str]:
    label = predictor.encoding.encode_labels(table.label)
    probability = predictor.predict(table.columns)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*roc_curve(label, probability), color=_BLUE)
    left.plot([0, 1], [0, 1], color=_GREY, linestyle=":")
    left.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    right.plot(*precision_recall_curve(label, probability), color=_BLUE)
    right.axhline(label.mean(), color=_GREY, linestyle=":")
    right.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    return (
        classification_metrics(label, probability, predictor.threshold),
        figure,
        f", threshold {predictor.threshold:g}",
    )


def _regression_figures(
    predictor: Predictor, table: LabelledTable, scale: LabelScaler
) -> tuple[dict[str, Interval], Figure, str]:
    label = table.label.astype(np.float64)
    said = scale.inverse_transform(predictor.predict(table.columns))
    drawn = np.random.default_rng(42).permutation(len(label))[:_MAX_CHART_POINTS]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(said[drawn], label[drawn], s=6, alpha=0.4, color=_BLUE, linewidths=0)
    ends = [float(min(label.min(), said.min())), float(max(label.max(), said.max()))]
    left.plot(ends, ends, color=_GREY, linestyle=":")
    left.set(title="What was said and what was so", xlabel="said", ylabel="true")
    right.hist(label - said, bins=40, color=_BLUE)
    right.set(title="By how much it missed", xlabel="true less said", ylabel="rows")
    return regression_metrics(label, said), figure, ", in the label's own unit"


def _tree_rules(predictor: Predictor, scale: LabelScaler | None) -> str:
    """The rules of a decision tree, for a person to read."""
    if predictor.active_models != ("tree",):
        return ""
    tree = predictor.model("tree")
    asked = partial(split_conditions, predictor.encoding)
    lines = (
        tree.lines(asked)
        if scale is None
        else tree.lines(asked, lambda v: f"{float(scale.inverse_transform(np.array(v))):.4g}")
    )
    return f"<h2>The tree</h2><pre>{escape(chr(10).join(lines))}</pre>"
