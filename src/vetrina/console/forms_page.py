"""The part of a version's page that says how its models were made small, with a picture of what each form costs and is worth."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
from matplotlib.figure import Figure

from vetrina.console.drawing import svg
from vetrina.core.compression import CompressionStep

_KEPT, _UNDONE, _FLOAT = "#2456a6", "#a31621", "#99aabb"
_LEAST_AREA, _MOST_AREA = 40.0, 1_200.0


def forms_page(steps: Sequence[CompressionStep]) -> str:
    """Every form that was tried, in its order."""
    if not steps:
        return "<h2>Compression</h2><p>No form was tried: nothing to judge it by, or no model with a smaller form.</p>"
    head = "<tr><th>model<th>form<th><th>size<th>CPU an answer<th>why</tr>"
    chart = f"<figure>{_picture(steps)}</figure>" if any(s.work_after for s in steps) else ""
    return f"<h2>Compression</h2>{chart}<table>{head}{''.join(map(_row, steps))}</table>"


def read(file: Path, noted: Sequence[dict[str, object]]) -> list[CompressionStep]:
    """With what was measured if that lies beside the version, else as the bundle's notes say."""
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=list[CompressionStep])
    return msgspec.convert(list(noted), type=list[CompressionStep])


def _row(step: CompressionStep) -> str:
    work = f"{step.work_before / 1e3:.2f} to {step.work_after / 1e3:.2f} ms" if step.work_after else ""
    return (
        f"<tr><td>{escape(step.model)}</td><td>{escape(step.step)}</td><td>{'kept' if step.kept else 'undone'}</td>"
        f"<td>{step.bytes_before / 1e6:.2f} to {step.bytes_after / 1e6:.2f} MB</td><td>{work}</td>"
        f"<td>{escape(step.why)}</td></tr>"
    )


def _picture(steps: Sequence[CompressionStep]) -> str:
    """CPU of an answer against quality on validation; areas are the bytes of the model whose form changed."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    largest = max(s.bytes_before for s in steps) or 1
    for step in (s for s in steps if s.work_after):
        before, after = (step.work_before / 1e3, step.quality_before), (step.work_after / 1e3, step.quality_after)
        axes.annotate("", after, before, arrowprops={"arrowstyle": "->", "color": _FLOAT})
        axes.scatter(*before, s=_area(step.bytes_before, largest), color=_FLOAT, alpha=0.5)
        axes.scatter(*after, s=_area(step.bytes_after, largest), color=_KEPT if step.kept else _UNDONE, alpha=0.8)
        axes.annotate(f"{step.model} {step.step}", after, textcoords="offset points", xytext=(6, 6), fontsize=8)
    axes.set(
        title="Forms: kept blue, undone red, what they were made from grey; area is size",
        xlabel="CPU-milliseconds of an answer",
        ylabel="quality on validation (without labels: answers as before)",
    )
    return svg(figure)


def _area(size: int, largest: int) -> float:
    return _LEAST_AREA + (_MOST_AREA - _LEAST_AREA) * size / largest
