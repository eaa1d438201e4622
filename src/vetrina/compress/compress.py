"""The stage: try each model's compression, judge it on validation in the serving runtime, keep or undo it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.files import size_of
from vetrina.core.progress import Progress
from vetrina.core.types import Checkpoint, CompressionStep, Evidence, Scores
from vetrina.metrics.bootstrap import paired
from vetrina.scenarios.agreement import Agreement, Reference

_POINT_LOSS, _RESOLUTION_CAP = 0.005, 0.03
_AGREEMENT, _AGREEMENT_UNITS = 0.9, 5_000


@dataclass(frozen=True)
class Compressed:
    """The folder to pack and what was tried."""

    folder: Path
    steps: tuple[CompressionStep, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Models whose small form is in the folder."""
        return tuple(s.model for s in self.steps if s.kept)


def compress(
    checkpoint: Checkpoint,
    into: Path,
    progress: Progress,
    *,
    validation: Evidence | None = None,
    repeat: tuple[str, ...] | None = None,
) -> Compressed:
    """Shrink a checkpoint into ``into``.

    With ``validation`` each step is judged on it; with ``repeat`` the named models' steps are taken again. Without
    either there is nothing to judge by, and the float forms stay.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(checkpoint.folder, into, copy_function=_link)
    weighed = _weighed(checkpoint.folder)
    names = [m for m in sorted(checkpoint.notes) if m in weighed and plugins.has_part("models", m, "compress")]
    if repeat is not None:
        for name in (n for n in names if n in repeat):
            _shrink(name, checkpoint.folder, into)
        return Compressed(into, ())
    if validation is None:
        return Compressed(into, ())
    evaluate = plugins.part("scenarios", checkpoint.scenario, "evaluate").evaluate
    steps: list[CompressionStep] = []
    with progress.step("compress: judge each step", len(names) + 1) as step:
        before: Scores = evaluate(into, validation)
        teacher = Reference(checkpoint.scenario, checkpoint.folder, _AGREEMENT_UNITS)
        step.advance()
        for name in names:
            before_bytes = size_of(into / name)
            what = _shrink(name, checkpoint.folder, into)
            after: Scores = evaluate(into, validation)
            like = teacher.agreement(into)
            judged = judge(name, what, before, after, before_bytes, size_of(into / name), like)
            steps.append(judged)
            if judged.kept:
                before = after
            else:
                shutil.rmtree(into / name)
                shutil.copytree(checkpoint.folder / name, into / name, copy_function=_link)
            step.advance()
    return Compressed(into, tuple(steps))


def judge(
    model: str, step: str, before: Scores, after: Scores, bytes_before: int, bytes_after: int, like: Agreement
) -> CompressionStep:
    """Keep if the upper 95 % bound of the loss is at most max(0.5 %, the data's resolution) and the point loss at most 0.5 %.

    Losses are relative to the mean before; the resolution is half the width of the interval of that mean, relative
    to it, at most 3 %. Where labels resolve less than 0.5 %, nine in ten answers must be those of the float models, too.
    """
    mean = abs(float(before.values.mean())) or 1.0
    lost = paired(before.values, after.values)
    noise = 1.96 * float(before.values.std()) / np.sqrt(len(before.values)) / mean
    limit = max(_POINT_LOSS, min(_RESOLUTION_CAP, float(noise)))
    point, upper = lost.point / mean, lost.high / mean
    smaller = bytes_after < bytes_before
    alike = noise <= _POINT_LOSS or like.share >= _AGREEMENT
    kept = bool(upper <= limit and point <= _POINT_LOSS and smaller and alike)
    why = (
        f"loss {point:+.2%}, at most {upper:+.2%} (allowed {limit:.2%}); {bytes_before / max(1, bytes_after):.1f} times "
        f"smaller; {like.share:.1%} of {like.units:,} answers as before"
    )
    return CompressionStep(
        model,
        step,
        kept,
        bytes_before,
        bytes_after,
        float(before.values.mean()),
        float(after.values.mean()),
        upper,
        why,
        like.share,
    )


def _weighed(folder: Path) -> set[str]:
    """Models that weigh something in any blend: the others change no answer, so there is nothing to judge."""
    blends = msgspec.json.decode((folder / "scenario.json").read_bytes())["weights"].values()
    return {model for weights in blends for model, weight in weights.items() if weight}


def _shrink(name: str, source: Path, into: Path) -> str:
    shutil.rmtree(into / name)
    (into / name).mkdir()
    return plugins.part("models", name, "compress").compress(source / name, into / name)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
