"""The quality section of a version's report: results of ``vetrina bench quality`` and learning curves of its networks."""

from collections.abc import Mapping
from html import escape

from matplotlib.figure import Figure

from vetrina.core.evaluation_data import Interval
from vetrina.reports.charts import to_svg
from vetrina.reports.quality import Quality

_VERSION_COLOUR = "#2456a6"
_MODEL_COLOUR = "#99aabb"
_ERROR_BAR_COLOUR = "#1c2330"
_LIST_METRICS = ("coverage", "novelty", "diversity", "popularity_bias")


def quality_section(quality: Quality | None, learning_curves: Mapping[str, list[float]]) -> str:
    """HTML about the quality of a version.

    Args:
        quality: what was measured, or None where nobody has evaluated the version yet.
        learning_curves: by network, the quality on held-out users after each epoch.

    Returns:
        Tables and charts.
    """
    if quality is None:
        content = "<p>Not evaluated yet: run <code>vetrina bench quality</code>, then write this page again.</p>"
    else:
        content = _quality_tables(quality)
    curves = {name: values for name, values in learning_curves.items() if values}
    if curves:
        content += f"<figure>{_learning_curve_chart(curves)}</figure>"
    return f"<h2>Quality</h2>{content}"


def _quality_tables(quality: Quality) -> str:
    rows = _rows("", quality.figures) + _rows("slice: ", quality.slices) + _rows("alone: ", quality.alone)
    if quality.gain is not None:
        rows.append(_row("gain, paired", quality.gain))
    if quality.lists is not None:
        for name in _LIST_METRICS:
            title = name.replace("_", " ")
            rows.append(f"<tr><td>{title}</td><td>{getattr(quality.lists, name):.4f}</td><td></td></tr>")
    head = "<tr><th>metric<th>mean<th>95 % interval</tr>"
    chart = f"<figure>{_models_chart(quality)}</figure>" if quality.alone else ""
    summary = f"{quality.units:,} evaluation units; {escape(quality.protocol)}."
    return f"<p>{summary}</p><table>{head}{''.join(rows)}</table>{chart}"


def _rows(prefix: str, intervals: Mapping[str, Interval]) -> list[str]:
    return [_row(prefix + name, interval) for name, interval in intervals.items()]


def _row(name: str, value: Interval) -> str:
    return f"<tr><td>{escape(name)}</td><td>{value.point:.4f}</td><td>{value.low:.4f} to {value.high:.4f}</td></tr>"


def _models_chart(quality: Quality) -> str:
    """The version beside each of its models alone, the best first."""
    metric, version_value = next(iter(quality.figures.items()))
    intervals = {"the version": version_value}
    for name in sorted(quality.alone, key=lambda name: -quality.alone[name].point):
        intervals[name] = quality.alone[name]
    points = [interval.point for interval in intervals.values()]
    below = [interval.point - interval.low for interval in intervals.values()]
    above = [interval.high - interval.point for interval in intervals.values()]
    colours = [_VERSION_COLOUR] + [_MODEL_COLOUR] * (len(intervals) - 1)
    figure = Figure(figsize=(9, 0.4 * len(intervals) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(intervals), points, xerr=[below, above], color=colours, ecolor=_ERROR_BAR_COLOUR, capsize=3)
    axes.invert_yaxis()
    axes.set(title=f"{metric}: the version, and its models alone", xlabel=metric)
    return to_svg(figure)


def _learning_curve_chart(learning_curves: Mapping[str, list[float]]) -> str:
    """Mean discounted rank of the target over held-out users after each epoch."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, values in learning_curves.items():
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, marker="o", label=name)
    axes.set(title="Learning curves", xlabel="epoch", ylabel="mean of 1 / log2(1 + rank), held-out users")
    axes.legend()
    return to_svg(figure)
