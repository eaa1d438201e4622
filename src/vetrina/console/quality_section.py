"""The part of a version's page that says how good it is: what ``vetrina bench quality`` found, and how its networks learnt."""

from collections.abc import Mapping
from html import escape

from matplotlib.figure import Figure

from vetrina.console.charts import to_svg
from vetrina.core.types import Interval
from vetrina.pipeline.quality import Quality

_VERSION_COLOUR = "#2456a6"
_MODEL_COLOUR = "#99aabb"


def quality_section(quality: Quality | None, learning_curves: Mapping[str, list[float]]) -> str:
    """``learning`` holds the worth of held-out users by epoch; ``found`` is None where nobody has scored the version yet."""
    parts = [
        "<p>Not scored yet: <code>vetrina bench quality</code> does, and this page will show it.</p>"
        if quality is None
        else _quality_tables(quality)
    ]
    learnt = {name: values for name, values in learning_curves.items() if values}
    if learnt:
        parts.append(f"<figure>{_learning_curve_chart(learnt)}</figure>")
    return f"<h2>Quality</h2>{''.join(parts)}"


def _quality_tables(quality: Quality) -> str:
    tables = {"": quality.figures, "slice: ": quality.slices, "alone: ": quality.alone}
    rows = [_row(head + name, i) for head, table in tables.items() for name, i in table.items()]
    if quality.gain is not None:
        rows.append(_row("gain, paired", quality.gain))
    if quality.lists is not None:
        figures = {n: getattr(quality.lists, n) for n in ("coverage", "novelty", "diversity", "popularity_bias")}
        rows += [
            f"<tr><td>{name.replace('_', ' ')}</td><td>{value:.4f}</td><td></td></tr>"
            for name, value in figures.items()
        ]
    head = "<tr><th>figure<th>mean<th>95 % interval</tr>"
    chart = f"<figure>{_models_chart(quality)}</figure>" if quality.alone else ""
    return f"<p>{quality.units:,} units; {escape(quality.protocol)}.</p><table>{head}{''.join(rows)}</table>{chart}"


def _row(name: str, value: Interval) -> str:
    return f"<tr><td>{escape(name)}</td><td>{value.point:.4f}</td><td>{value.low:.4f} to {value.high:.4f}</td></tr>"


def _models_chart(quality: Quality) -> str:
    """The version beside each of its models alone."""
    metric, whole = next(iter(quality.figures.items()))
    shown = {"the version": whole, **dict(sorted(quality.alone.items(), key=lambda one: -one[1].point))}
    figure = Figure(figsize=(9, 0.4 * len(shown) + 1), layout="constrained")
    axes = figure.subplots()
    points = [i.point for i in shown.values()]
    spread = [[i.point - i.low for i in shown.values()], [i.high - i.point for i in shown.values()]]
    axes.barh(
        list(shown),
        points,
        xerr=spread,
        color=[_VERSION_COLOUR, *[_MODEL_COLOUR] * (len(shown) - 1)],
        ecolor="#1c2330",
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set(title=f"{metric}: the version, and its models alone", xlabel=metric)
    return to_svg(figure)


def _learning_curve_chart(learning_curves: Mapping[str, list[float]]) -> str:
    """Worth of held-out users after each epoch."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, values in learning_curves.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", label=name)
    axes.set(title="Learning", xlabel="epoch", ylabel="mean of 1 / log2(1 + rank), held-out users")
    axes.legend()
    return to_svg(figure)
