"""The stage: a search among each model's small forms, judged on validation in the serving runtime, for the one that works least.

A form may stay if it loses nothing that validation can show, and answers as before where nothing is judged. The search
(``search.py``) goes on while the run's budget pays for judging and for teaching.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vetrina.compress.search import middle, still_open
from vetrina.core import plugins
from vetrina.core.compression import CompressionStep, Form, Lesson
from vetrina.core.errors import Unfit
from vetrina.core.files import size_of
from vetrina.core.progress import Progress
from vetrina.core.types import Checkpoint, Evidence, Past, Plan, Scores
from vetrina.metrics.loss import loss
from vetrina.scenarios.agreement import Agreement, Reference

_AGREEMENT, _AGREEMENT_UNITS = 0.95, 5_000
_ALWAYS = 0.93  # the gate asks for nine in ten of the judged file, which learns from more: what is kept here has to stand that
_FITS, _SHARE_OF_TEACHING = 3, 0.15  # a smaller model is taught in each fit of a run; of the run's whole budget


@dataclass(frozen=True)
class Compressed:
    """The folder to pack and what was tried."""

    folder: Path
    steps: tuple[CompressionStep, ...]

    @property
    def kept(self) -> dict[str, str]:
        """Of each model whose small form is in the folder the name of that form."""
        return {s.model: s.step for s in self.steps if s.kept}


def compress(
    checkpoint: Checkpoint,
    past: Past,
    plan: Plan,
    into: Path,
    progress: Progress,
    *,
    validation: Evidence | None = None,
    repeat: Mapping[str, str] | None = None,
) -> Compressed:
    """Shrink a checkpoint into ``into``; smaller models are taught with its ``past``.

    Each form is judged on ``validation``, those that work least first, until one may stay; where nothing is labelled, by the
    answers of before alone. With ``repeat`` nothing is judged: the named models take the named forms again.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(checkpoint.folder, into, copy_function=_link)
    lesson = Lesson(lambda: _prepared(checkpoint.scenario, past), plan, progress)
    if repeat is not None:
        for name, form in repeat.items():
            if name in checkpoint.notes and (again := next((f for f in _forms(name) if f.name == form), None)):
                shutil.rmtree(into / name)
                (into / name).mkdir()
                _shrink(name, again, checkpoint.folder, into, lesson)
        return Compressed(into, ())
    weighed = _weighed(checkpoint.folder)
    names = [m for m in checkpoint.notes if m in weighed and _forms(m)]
    # The largest first, while there is time for bold forms; what has none is taken on trust, and must not use up what others may
    # change.
    names.sort(key=lambda m: (len(_forms(m)) == 1 and bool(gentlest(m)), -size_of(checkpoint.folder / m), m))
    evaluate = plugins.part("scenarios", checkpoint.scenario, "evaluate").evaluate
    steps: list[CompressionStep] = []
    with progress.step("compress: judge each form", len(names) + 1) as step:
        trial = _Trial(checkpoint, into, lesson, evaluate, validation)
        step.advance()
        for name in names:
            steps += trial.tried(name)
            step.advance()
    return Compressed(into, tuple(steps))


class _Trial:
    """One folder in which models take their forms one after the other."""

    def __init__(
        self, checkpoint: Checkpoint, into: Path, lesson: Lesson, evaluate: Any, validation: Evidence | None
    ) -> None:
        self._checkpoint, self._into, self._lesson = checkpoint, into, lesson
        self._evaluate, self._validation = evaluate, validation
        self._before: Scores | None = evaluate(into, validation) if validation else None
        self._teacher = Reference(checkpoint.scenario, checkpoint.folder, _AGREEMENT_UNITS, validation)
        self._like = self._teacher.itself()
        self._answers, self._seconds = lesson.plan.answers, _SHARE_OF_TEACHING * lesson.plan.budget_seconds

    def tried(self, name: str) -> list[CompressionStep]:
        """The forms that were judged, in their order; the kept one, or the float form, is in the folder."""
        place, steps = self._into / name, list[CompressionStep]()
        with tempfile.TemporaryDirectory(dir=self._into.parent) as scratch:
            best, seen = Path(scratch) / "best", (self._before, self._like)
            shutil.move(place, best)
            forms = _forms(name)
            while open_ := self._affordable(name, forms, found=any(s.kept for s in steps)):
                form = middle(open_)
                step, after = self._judged(name, form)
                if step.kept:
                    shutil.rmtree(best)
                    shutil.move(place, best)
                    seen = after
                    steps = [_surpassed(s) for s in steps]
                steps.append(step)
                forms = still_open(forms, form, step.kept)
            shutil.rmtree(place, ignore_errors=True)
            shutil.move(best, place)
        self._before, self._like = seen
        return steps

    def _affordable(self, name: str, forms: Sequence[Form], *, found: bool) -> list[Form]:
        """Forms that may still be judged: bold ones while their answers are paid for, taught ones while their teaching is."""
        last = gentlest(name)
        # What nobody compares would be taken on trust.
        bold = self._teacher.compares(name) and self._asking(name) <= self._answers
        paid = [f for f in forms if teaching(f, self._lesson.plan) <= self._seconds]
        trusted = self._before is not None or self._teacher.compares(
            name
        )  # without labels answers have to speak for it
        return paid if bold else [f for f in paid if f.name == last and not found and trusted]

    def _asking(self, name: str) -> int:
        """Answers that judging one form of it takes."""
        labelled = len(self._before.values) if self._before is not None and self._teacher.judges(name) else 0
        return labelled + self._teacher.asks(name)

    def _judged(self, name: str, form: Form) -> tuple[CompressionStep, tuple[Scores | None, Agreement]]:
        """Leaves the form in the folder."""
        if form.name != gentlest(name):
            self._answers -= self._asking(name)
        self._seconds -= teaching(form, self._lesson.plan)
        shutil.rmtree(self._into / name, ignore_errors=True)
        (self._into / name).mkdir()
        try:
            _shrink(name, form, self._checkpoint.folder, self._into, self._lesson)
            after = self._before
            if after is not None and self._teacher.judges(name):  # what asks for other models alone is as it was
                after = self._evaluate(self._into, self._validation)
            if after is not None and not np.isfinite(after.values).all():
                raise Unfit("its answers are no numbers")
            like = self._teacher.agreement(self._into, changed=name, before=self._like)
        except Unfit as why:
            return self._unfit(name, form, str(why)), (self._before, self._like)
        sizes = size_of(self._checkpoint.folder / name), size_of(self._into / name)
        bold, work = form.name != gentlest(name), self._like.work
        if self._before is None or after is None:
            return compare(name, form.name, sizes, like, work), (None, like)
        return judge(name, form.name, self._before, after, sizes, like, work, bold=bold), (after, like)

    def _unfit(self, name: str, form: Form, why: str) -> CompressionStep:
        quality = self._like.share if self._before is None else float(self._before.values.mean())
        size = size_of(self._checkpoint.folder / name)
        return CompressionStep(name, form.name, False, size, size, quality, quality, 0.0, why, 0.0)


def _surpassed(step: CompressionStep) -> CompressionStep:
    return replace(step, kept=False, why=f"{step.why}; a smaller form may stay, too") if step.kept else step


def teaching(form: Form, plan: Plan) -> float:
    """Seconds of teaching this form in each fit of a run."""
    return form.seconds * _FITS * 2 / plan.threads


def judge(
    model: str,
    form: str,
    before: Scores,
    after: Scores,
    sizes: tuple[int, int],
    like: Agreement,
    work: float = 0.0,
    *,
    bold: bool = True,
) -> CompressionStep:
    """Keep if the upper 95 % bound of the loss is at most max(0.5 %, the data's resolution) and the point loss at most 0.5 %
    (``metrics.loss``).

    _ALWAYS of the answers must be those of the float models, _AGREEMENT where labels resolve less than 0.5 %.
    Where they say nothing, ``bold`` forms have to give _AGREEMENT, too; the gentlest is taken on trust there.
    ``sizes`` are bytes before and after, ``work`` CPU-microseconds of an answer before.
    """
    lost = loss(before.values, after.values)
    alike = like.share >= (_ALWAYS if lost.resolved else _AGREEMENT) and (not bold or like.unjudged >= _AGREEMENT)
    kept = bool(lost.bearable and sizes[1] < sizes[0] and alike)
    why = f"loss {lost.point:+.2%}, at most {lost.upper:+.2%} (allowed {lost.allowed:.2%}); {_said(sizes, like)}"
    quality = float(before.values.mean()), float(after.values.mean())
    return CompressionStep(model, form, kept, *sizes, *quality, lost.upper, why, like.share, work, like.work)


def compare(model: str, form: str, sizes: tuple[int, int], like: Agreement, work: float = 0.0) -> CompressionStep:
    """``judge`` where nothing is labelled: of every form _AGREEMENT of the answers must be those of the float models.

    That share stands for the quality.
    """
    kept = min(like.share, like.unjudged) >= _AGREEMENT and sizes[1] < sizes[0]
    why = f"nothing is labelled; {_said(sizes, like)}"
    return CompressionStep(
        model, form, kept, *sizes, 1.0, like.share, 1.0 - like.share, why, like.share, work, like.work
    )


def _said(sizes: tuple[int, int], like: Agreement) -> str:
    elsewhere = f", {like.unjudged:.1%} where nothing is judged" if like.unjudged < 1 else ""
    smaller = f"{sizes[0] / max(1, sizes[1]):.1f} times smaller"
    return f"{smaller}; {like.share:.1%} of {like.units:,} answers as before{elsewhere}"


def gentlest(model: str) -> str:
    """The name of the form that is nearest to float; empty where every form is bold or has to be taught."""
    return next((form.name for form in reversed(_forms(model)) if not form.seconds and not form.bold), "")


def _weighed(folder: Path) -> set[str]:
    """Models that weigh something in any blend: the others change no answer, so there is nothing to judge."""
    blends = msgspec.json.decode((folder / "scenario.json").read_bytes())["weights"].values()
    return {model for weights in blends for model, weight in weights.items() if weight}


def _prepared(scenario: str, past: Past) -> Past:
    """As models learnt from it; what serving needs beside them is there already."""
    with tempfile.TemporaryDirectory() as scratch:
        return plugins.part("scenarios", scenario, "recipe").prepare(past, Path(scratch))


def _forms(name: str) -> tuple[Form, ...]:
    known = plugins.has_part("models", name, "compress")
    return tuple(plugins.part("models", name, "compress").FORMS) if known else ()


def _shrink(name: str, form: Form, source: Path, into: Path, lesson: Lesson) -> None:
    """Writes the form into the model's folder, which is to be empty."""
    plugins.part("models", name, "compress").compress(source / name, into / name, form, lesson)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
