"""The compression section of a version's report: each variant that was tried, with its cost and quality."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vetrina.core.compression import CompressionTrial
from vetrina.reports.charts import to_svg

_ACCEPTED_COLOUR = "#2456a6"
_REJECTED_COLOUR = "#a31621"
_BEFORE_COLOUR = "#99aabb"
# Areas of markers in square points.
_MIN_MARKER_AREA = 40.0
_MAX_MARKER_AREA = 1_200.0


def compression_section(trials: Sequence[CompressionTrial]) -> str:
    """HTML with every variant in the order in which it was tried."""
    if not trials:
        return (
            "<h2>Compression</h2><p>No variant was tried: there is nothing to evaluate it on, or no model has a smaller "
            "variant.</p>"
        )
    head = "<tr><th>model<th>variant<th><th>size<th>CPU per answer<th>reason</tr>"
    rows = "".join(_row(trial) for trial in trials)
    chart = ""
    if any(trial.work_after for trial in trials):
        chart = f"<figure>{_compression_chart(trials)}</figure>"
    return f"<h2>Compression</h2>{chart}<table>{head}{rows}</table>"


def read_compression_trials(file: Path, recorded_trials: Sequence[CompressionTrial]) -> Sequence[CompressionTrial]:
    """Trials of a version.

    Args:
        file: trials with the measured CPU time, which may be missing.
        recorded_trials: trials in the record of the version, for where there is no such file.

    Returns:
        The trials in their order.
    """
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=list[CompressionTrial])
    return recorded_trials


def _row(trial: CompressionTrial) -> str:
    work = ""
    if trial.work_after:
        work = f"{_milliseconds(trial.work_before):.2f} to {_milliseconds(trial.work_after):.2f} ms"
    outcome = "accepted" if trial.kept else "rejected"
    return (
        f"<tr><td>{escape(trial.model)}</td><td>{escape(trial.step)}</td><td>{outcome}</td>"
        f"<td>{trial.bytes_before / 1e6:.2f} to {trial.bytes_after / 1e6:.2f} MB</td><td>{work}</td>"
        f"<td>{escape(trial.why)}</td></tr>"
    )


def _compression_chart(trials: Sequence[CompressionTrial]) -> str:
    """CPU time of an answer against quality on validation; areas are bytes of the model that was compressed."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    most_bytes = max(trial.bytes_before for trial in trials) or 1
    for trial in trials:
        if trial.work_after:
            _plot_trial(axes, trial, most_bytes)
    axes.set(
        title="Variants: accepted blue, rejected red, before compression grey; area is size",
        xlabel="CPU-milliseconds of an answer",
        ylabel="quality on validation (without labels: agreement of answers)",
    )
    return to_svg(figure)


def _plot_trial(axes: Axes, trial: CompressionTrial, most_bytes: int) -> None:
    before = (_milliseconds(trial.work_before), trial.quality_before)
    after = (_milliseconds(trial.work_after), trial.quality_after)
    colour = _ACCEPTED_COLOUR if trial.kept else _REJECTED_COLOUR
    area_before = _marker_area(trial.bytes_before, most_bytes)
    area_after = _marker_area(trial.bytes_after, most_bytes)
    axes.annotate("", after, before, arrowprops={"arrowstyle": "->", "color": _BEFORE_COLOUR})
    axes.scatter(*before, s=area_before, color=_BEFORE_COLOUR, alpha=0.5)
    axes.scatter(*after, s=area_after, color=colour, alpha=0.8)
    label = f"{trial.model} {trial.step}"
    axes.annotate(label, after, textcoords="offset points", xytext=(6, 6), fontsize=8)


def _milliseconds(microseconds: float) -> float:
    return microseconds / 1e3


def _marker_area(n_bytes: int, most_bytes: int) -> float:
    return _MIN_MARKER_AREA + (_MAX_MARKER_AREA - _MIN_MARKER_AREA) * n_bytes / most_bytes
