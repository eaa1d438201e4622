"""The part of a report that shows how well a table's label is told: figures with intervals, curves, the rules of a tree."""

from functools import partial
from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vetrina.console.drawing import svg
from vetrina.core.errors import NotFound
from vetrina.core.tables import Scale, Table
from vetrina.core.types import Interval
from vetrina.metrics.classification import classified, precision_recall_curve, roc_curve
from vetrina.metrics.regression import measured
from vetrina.pipeline.shop import Shop
from vetrina.scenarios.predict.online import Predict
from vetrina.scenarios.predict.rules import conditions

_MOST_POINTS = 2_000
_BLUE, _GREY = "#2456a6", "#99a"


def predict_page(shop: Shop, shown: dict[str, Any]) -> str:
    """HTML about one version. Raises NotFound where its table is gone."""
    opened = shop.open("predict", shown["version"])
    table = shop.held(shown).holdout().table
    if table is None:
        raise NotFound(shown["version"], "has lost its table", "ingest the table again")
    scale = opened.encoding.number
    figures, drawing, how = _yes_or_no(opened, table) if scale is None else _number(opened, table, scale)
    rows = "".join(
        f"<tr><td>{name}</td><td>{one.point:.4f} (95 % interval {one.low:.4f} to {one.high:.4f})</td></tr>"
        for name, one in figures.items()
    )
    protocol = f"{len(table)} rows held out (20 %, seed 42), model {' + '.join(opened.chosen)}{how}"
    return (
        f"<h2>Quality</h2><p>{protocol}.</p><table>{rows}</table><figure>{svg(drawing)}</figure>{_tree(opened, scale)}"
    )


def _yes_or_no(opened: Predict, table: Table) -> tuple[dict[str, Interval], Figure, str]:
    label, probability = opened.encoding.truth(table.label), opened.expected(table.columns)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*roc_curve(label, probability), color=_BLUE)
    left.plot([0, 1], [0, 1], color=_GREY, linestyle=":")
    left.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    right.plot(*precision_recall_curve(label, probability), color=_BLUE)
    right.axhline(label.mean(), color=_GREY, linestyle=":")
    right.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    return classified(label, probability, opened.threshold), figure, f", threshold {opened.threshold:g}"


def _number(opened: Predict, table: Table, scale: Scale) -> tuple[dict[str, Interval], Figure, str]:
    label, said = table.label.astype(np.float64), scale.meant(opened.expected(table.columns))
    drawn = np.random.default_rng(42).permutation(len(label))[:_MOST_POINTS]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(said[drawn], label[drawn], s=6, alpha=0.4, color=_BLUE, linewidths=0)
    ends = [float(min(label.min(), said.min())), float(max(label.max(), said.max()))]
    left.plot(ends, ends, color=_GREY, linestyle=":")
    left.set(title="What was said and what was so", xlabel="said", ylabel="true")
    right.hist(label - said, bins=40, color=_BLUE)
    right.set(title="By how much it missed", xlabel="true less said", ylabel="rows")
    return measured(label, said), figure, ", in the label's own unit"


def _tree(opened: Predict, scale: Scale | None) -> str:
    """The rules of a decision tree, for a person to read."""
    if opened.chosen != ("tree",):
        return ""
    tree, asked = opened.part("tree"), partial(conditions, opened.encoding)
    lines = (
        tree.lines(asked) if scale is None else tree.lines(asked, lambda v: f"{float(scale.meant(np.array(v))):.4g}")
    )
    return f"<h2>The tree</h2><pre>{escape(chr(10).join(lines))}</pre>"
