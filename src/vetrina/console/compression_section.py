"""The part of a version's page that says how its models were made small, with a picture of what each form costs and is worth."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
from matplotlib.figure import Figure

from vetrina.console.charts import to_svg
from vetrina.core.compression import CompressionTrial

_KEPT_COLOUR = "#2456a6"
_REJECTED_COLOUR = "#a31621"
_FLOAT_COLOUR = "#99aabb"
_MIN_MARKER_AREA = 40.0
_MAX_MARKER_AREA = 1_200.0


def compression_section(trials: Sequence[CompressionTrial]) -> str:
    """Every form that was tried, in its order."""
    if not trials:
        return "<h2>Compression</h2><p>No form was tried: nothing to judge it by, or no model with a smaller form.</p>"
    head = "<tr><th>model<th>form<th><th>size<th>CPU an answer<th>why</tr>"
    chart = f"<figure>{_compression_chart(trials)}</figure>" if any(s.work_after for s in trials) else ""
    return f"<h2>Compression</h2>{chart}<table>{head}{''.join(map(_row, trials))}</table>"


def read_compression_trials(file: Path, noted_trials: Sequence[dict[str, object]]) -> list[CompressionTrial]:
    """With what was measured if that lies beside the version, else as the bundle's notes say."""
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=list[CompressionTrial])
    return msgspec.convert(list(noted_trials), type=list[CompressionTrial])


def _row(trial: CompressionTrial) -> str:
    work = f"{trial.work_before / 1e3:.2f} to {trial.work_after / 1e3:.2f} ms" if trial.work_after else ""
    return (
        f"<tr><td>{escape(trial.model)}</td><td>{escape(trial.step)}</td><td>{'kept' if trial.kept else 'undone'}</td>"
        f"<td>{trial.bytes_before / 1e6:.2f} to {trial.bytes_after / 1e6:.2f} MB</td><td>{work}</td>"
        f"<td>{escape(trial.why)}</td></tr>"
    )


def _compression_chart(trials: Sequence[CompressionTrial]) -> str:
    """CPU of an answer against quality on validation; areas are the bytes of the model whose form changed."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    largest = max(s.bytes_before for s in trials) or 1
    for step in (s for s in trials if s.work_after):
        before = (step.work_before / 1e3, step.quality_before)
        after = (step.work_after / 1e3, step.quality_after)
        axes.annotate("", after, before, arrowprops={"arrowstyle": "->", "color": _FLOAT_COLOUR})
        axes.scatter(*before, s=_marker_area(step.bytes_before, largest), color=_FLOAT_COLOUR, alpha=0.5)
        axes.scatter(
            *after,
            s=_marker_area(step.bytes_after, largest),
            color=_KEPT_COLOUR if step.kept else _REJECTED_COLOUR,
            alpha=0.8,
        )
        axes.annotate(f"{step.model} {step.step}", after, textcoords="offset points", xytext=(6, 6), fontsize=8)
    axes.set(
        title="Forms: kept blue, undone red, what they were made from grey; area is size",
        xlabel="CPU-milliseconds of an answer",
        ylabel="quality on validation (without labels: answers as before)",
    )
    return to_svg(figure)


def _marker_area(size: int, largest: int) -> float:
    return _MIN_MARKER_AREA + (_MAX_MARKER_AREA - _MIN_MARKER_AREA) * size / largest
