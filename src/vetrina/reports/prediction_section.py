"""The quality section of a report on predictions: metrics with intervals, curves, and the rules of a decision tree."""

from html import escape

import numpy as np
from matplotlib.figure import Figure

from vetrina.api.shop import Shop
from vetrina.core.errors import NotFound
from vetrina.core.evaluation_data import Interval
from vetrina.core.labelled_tables import LabelledTable, LabelScaler
from vetrina.evaluation.classification import classification_metrics, precision_recall_curve, roc_curve
from vetrina.evaluation.regression import regression_metrics
from vetrina.reports.charts import to_svg
from vetrina.scenarios.base import PredictionBundle, PredictionScenario
from vetrina.store.registry import Version

_MAX_CHART_POINTS = 2_000
_CHART_SEED = 42  # of the sample of points
_BLUE = "#2456a6"
_GREY = "#99a"


def prediction_section(shop: Shop, scenario: PredictionScenario, version: Version) -> str:
    """HTML for a version.

    Args:
        shop: The shop.
        scenario: Scenario of the version.
        version: The version.

    Raises:
        NotFound: Its table is gone.
    """
    predictor = scenario.load(shop.shop_context.version_folder(version.name))
    table = shop.splits(version).holdout().table
    if table is None:
        raise NotFound(version.name, "has lost its table", "ingest the table again")
    label_scaler = predictor.encoding.number
    if label_scaler is None:
        metrics, figure = _classification_figures(predictor, table)
        detail = f", threshold {predictor.threshold:g}"
    else:
        metrics, figure = _regression_figures(predictor, table, label_scaler)
        detail = ", in the label's own unit"
    rows = "".join(_row(name, interval) for name, interval in metrics.items())
    models = _weighted_models(predictor)
    protocol = f"{len(table)} rows held out (20 %, seed 42), model {models}{detail}"
    chart = f"<figure>{to_svg(figure)}</figure>"
    return f"<h2>Quality</h2><p>{protocol}.</p><table>{rows}</table>{chart}{_rules_section(predictor)}"


def _weighted_models(predictor: PredictionBundle) -> str:
    """The models that predict, each with its weight where there are several."""
    if len(predictor.active_models) == 1:
        return predictor.active_models[0]
    return " + ".join(f"{predictor.weights[name]:.2g} {name}" for name in predictor.active_models)


def _row(name: str, interval: Interval) -> str:
    value = f"{interval.point:.4f} (95 % interval {interval.low:.4f} to {interval.high:.4f})"
    return f"<tr><td>{name}</td><td>{value}</td></tr>"


def _classification_figures(predictor: PredictionBundle, table: LabelledTable) -> tuple[dict[str, Interval], Figure]:
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
    return classification_metrics(label, probability, predictor.threshold), figure


def _regression_figures(
    predictor: PredictionBundle, table: LabelledTable, label_scaler: LabelScaler
) -> tuple[dict[str, Interval], Figure]:
    label = table.label.astype(np.float64)
    prediction = label_scaler.inverse_transform(predictor.predict(table.columns))
    sample = np.random.default_rng(_CHART_SEED).permutation(len(label))[:_MAX_CHART_POINTS]
    lowest = float(min(label.min(), prediction.min()))
    highest = float(max(label.max(), prediction.max()))
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(prediction[sample], label[sample], s=6, alpha=0.4, color=_BLUE, linewidths=0)
    left.plot([lowest, highest], [lowest, highest], color=_GREY, linestyle=":")
    left.set(title="Predicted and true labels", xlabel="predicted", ylabel="true")
    right.hist(label - prediction, bins=40, color=_BLUE)
    right.set(title="Residuals", xlabel="true minus predicted", ylabel="rows")
    return regression_metrics(label, prediction), figure


def _rules_section(predictor: PredictionBundle) -> str:
    """The rules of the model in words, where people can read it."""
    rules = predictor.rules()
    if not rules:
        return ""
    return f"<h2>The tree</h2><pre>{escape(rules)}</pre>"
