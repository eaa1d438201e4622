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

from vetrina.compress.variant_search import middle_variant, remaining_variants
from vetrina.core import plugins
from vetrina.core.compression import CompressionTrial, CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.files import size_of
from vetrina.core.progress import Progress
from vetrina.core.types import Checkpoint, EvaluationData, MetricValues, TrainingData, TrainingPlan
from vetrina.metrics.quality_loss import quality_loss
from vetrina.scenarios.agreement import Agreement, ReferenceAnswers

_MIN_AGREEMENT = 0.95
_MAX_AGREEMENT_REQUESTS = 5_000
# The gate asks for 0.9 of the judged file, which learns from more data, so what is kept here needs some room.
_MIN_AGREEMENT_LABELLED = 0.93
_FITS_PER_RUN, _DISTILLATION_BUDGET_SHARE = (
    3,
    0.15,
)  # a smaller model is taught in each fit of a run; of the run's whole budget


@dataclass(frozen=True)
class CompressionResult:
    """The folder to pack and what was tried."""

    folder: Path
    trials: tuple[CompressionTrial, ...]

    @property
    def kept_variants(self) -> dict[str, str]:
        """Of each model whose small form is in the folder the name of that form."""
        return {s.model: s.step for s in self.trials if s.kept}


def compress(
    checkpoint: Checkpoint,
    training_data: TrainingData,
    plan: TrainingPlan,
    into: Path,
    progress: Progress,
    *,
    validation: EvaluationData | None = None,
    repeat_variants: Mapping[str, str] | None = None,
) -> CompressionResult:
    """Shrink a checkpoint into ``into``; smaller models are taught with its ``past``.

    Each form is judged on ``validation``, those that work least first, until one may stay; where nothing is labelled, by the
    answers of before alone. With ``repeat`` nothing is judged: the named models take the named forms again.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(checkpoint.folder, into, copy_function=_hardlink)
    lesson = DistillationData(lambda: _prepare_training_data(checkpoint.scenario, training_data), plan, progress)
    if repeat_variants is not None:
        for name, form in repeat_variants.items():
            if name in checkpoint.notes and (again := next((f for f in _variants(name) if f.name == form), None)):
                shutil.rmtree(into / name)
                (into / name).mkdir()
                _write_variant(name, again, checkpoint.folder, into, lesson)
        return CompressionResult(into, ())
    weighed = _models_with_weight(checkpoint.folder)
    names = [m for m in checkpoint.notes if m in weighed and _variants(m)]
    # The largest first, while there is time for bold forms; what has none is taken on trust, and must not use up what others may
    # change.
    names.sort(
        key=lambda m: (len(_variants(m)) == 1 and bool(least_aggressive_variant(m)), -size_of(checkpoint.folder / m), m)
    )
    evaluate = plugins.load_module("scenarios", checkpoint.scenario, "evaluate").evaluate
    steps: list[CompressionTrial] = []
    with progress.step("compress: judge each form", len(names) + 1) as step:
        trial = _VariantSearch(checkpoint, into, lesson, evaluate, validation)
        step.advance()
        for name in names:
            steps += trial.try_variants(name)
            step.advance()
    return CompressionResult(into, tuple(steps))


class _VariantSearch:
    """One folder in which models take their forms one after the other."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        into: Path,
        distillation_data: DistillationData,
        evaluate: Any,
        validation: EvaluationData | None,
    ) -> None:
        self._checkpoint = checkpoint
        self._into = into
        self._distillation_data = distillation_data
        self._evaluate = evaluate
        self._validation = validation
        self._scores_before: MetricValues | None = evaluate(into, validation) if validation else None
        self._reference = ReferenceAnswers(checkpoint.scenario, checkpoint.folder, _MAX_AGREEMENT_REQUESTS, validation)
        self._agreement_before = self._reference.self_agreement()
        self._answers_left = distillation_data.plan.answers
        self._training_seconds_left = _DISTILLATION_BUDGET_SHARE * distillation_data.plan.budget_seconds

    def try_variants(self, name: str) -> list[CompressionTrial]:
        """The forms that were judged, in their order; the kept one, or the float form, is in the folder."""
        place = self._into / name
        steps = list[CompressionTrial]()
        with tempfile.TemporaryDirectory(dir=self._into.parent) as scratch:
            best = Path(scratch) / "best"
            seen = (self._scores_before, self._agreement_before)
            shutil.move(place, best)
            forms = _variants(name)
            while open_ := self._affordable_variants(name, forms, has_kept=any(s.kept for s in steps)):
                form = middle_variant(open_)
                step, after = self._evaluate_variant(name, form)
                if step.kept:
                    shutil.rmtree(best)
                    shutil.move(place, best)
                    seen = after
                    steps = [_mark_superseded(s) for s in steps]
                steps.append(step)
                forms = remaining_variants(forms, form, step.kept)
            shutil.rmtree(place, ignore_errors=True)
            shutil.move(best, place)
        self._scores_before, self._agreement_before = seen
        return steps

    def _affordable_variants(
        self, name: str, variants: Sequence[CompressionVariant], *, has_kept: bool
    ) -> list[CompressionVariant]:
        """Forms that may still be judged: bold ones while their answers are paid for, taught ones while their teaching is."""
        last = least_aggressive_variant(name)
        # What nobody compares would be taken on trust.
        bold = self._reference.affects_any_request(name) and self._answers_per_trial(name) <= self._answers_left
        paid = [
            f
            for f in variants
            if variant_training_seconds(f, self._distillation_data.plan) <= self._training_seconds_left
        ]
        trusted = self._scores_before is not None or self._reference.affects_any_request(
            name
        )  # without labels answers have to speak for it
        return paid if bold else [f for f in paid if f.name == last and not has_kept and trusted]

    def _answers_per_trial(self, name: str) -> int:
        """Answers that judging one form of it takes."""
        labelled = (
            len(self._scores_before.values)
            if self._scores_before is not None and self._reference.affects_labelled_requests(name)
            else 0
        )
        return labelled + self._reference.n_requests_for(name)

    def _evaluate_variant(
        self, name: str, variant: CompressionVariant
    ) -> tuple[CompressionTrial, tuple[MetricValues | None, Agreement]]:
        """Leaves the form in the folder."""
        if variant.name != least_aggressive_variant(name):
            self._answers_left -= self._answers_per_trial(name)
        self._training_seconds_left -= variant_training_seconds(variant, self._distillation_data.plan)
        shutil.rmtree(self._into / name, ignore_errors=True)
        (self._into / name).mkdir()
        try:
            _write_variant(name, variant, self._checkpoint.folder, self._into, self._distillation_data)
            after = self._scores_before
            if after is not None and self._reference.affects_labelled_requests(
                name
            ):  # what asks for other models alone is as it was
                after = self._evaluate(self._into, self._validation)
            if after is not None and not np.isfinite(after.values).all():
                raise UnusableVariant("its answers are no numbers")
            like = self._reference.compare_folder(self._into, changed_model=name, previous=self._agreement_before)
        except UnusableVariant as why:
            return self._rejected_trial(name, variant, str(why)), (self._scores_before, self._agreement_before)
        sizes = size_of(self._checkpoint.folder / name), size_of(self._into / name)
        bold = variant.name != least_aggressive_variant(name)
        work = self._agreement_before.work
        if self._scores_before is None or after is None:
            return judge_by_agreement(name, variant.name, sizes, like, work), (None, like)
        return judge_with_labels(
            name, variant.name, self._scores_before, after, sizes, like, work, is_aggressive=bold
        ), (after, like)

    def _rejected_trial(self, name: str, variant: CompressionVariant, why: str) -> CompressionTrial:
        quality = (
            self._agreement_before.share if self._scores_before is None else float(self._scores_before.values.mean())
        )
        size = size_of(self._checkpoint.folder / name)
        return CompressionTrial(name, variant.name, False, size, size, quality, quality, 0.0, why, 0.0)


def _mark_superseded(trial: CompressionTrial) -> CompressionTrial:
    return replace(trial, kept=False, why=f"{trial.why}; a smaller form may stay, too") if trial.kept else trial


def variant_training_seconds(variant: CompressionVariant, plan: TrainingPlan) -> float:
    """Seconds of teaching this form in each fit of a run."""
    return variant.training_seconds * _FITS_PER_RUN * 2 / plan.threads


def judge_with_labels(
    model: str,
    variant: str,
    scores_before: MetricValues,
    scores_after: MetricValues,
    sizes: tuple[int, int],
    agreement: Agreement,
    cpu_us_before: float = 0.0,
    *,
    is_aggressive: bool = True,
) -> CompressionTrial:
    """Keep if the upper 95 % bound of the loss is at most max(0.5 %, the data's resolution) and the point loss at most 0.5 %
    (``metrics.quality_loss``).

    _ALWAYS of the answers must be those of the float models, _AGREEMENT where labels resolve less than 0.5 %.
    Where they say nothing, ``bold`` forms have to give _AGREEMENT, too; the gentlest is taken on trust there.
    ``sizes`` are bytes before and after, ``work`` CPU-microseconds of an answer before.
    """
    lost = quality_loss(scores_before.values, scores_after.values)
    alike = agreement.share >= (_MIN_AGREEMENT_LABELLED if lost.has_resolution else _MIN_AGREEMENT) and (
        not is_aggressive or agreement.unjudged >= _MIN_AGREEMENT
    )
    kept = bool(lost.is_acceptable and sizes[1] < sizes[0] and alike)
    why = f"loss {lost.point:+.2%}, at most {lost.upper:+.2%} (allowed {lost.allowed:.2%}); {_change_text(sizes, agreement)}"
    quality = float(scores_before.values.mean()), float(scores_after.values.mean())
    return CompressionTrial(
        model, variant, kept, *sizes, *quality, lost.upper, why, agreement.share, cpu_us_before, agreement.work
    )


def judge_by_agreement(
    model: str, variant: str, sizes: tuple[int, int], agreement: Agreement, cpu_us_before: float = 0.0
) -> CompressionTrial:
    """``judge`` where nothing is labelled: of every form _AGREEMENT of the answers must be those of the float models.

    That share stands for the quality.
    """
    kept = min(agreement.share, agreement.unjudged) >= _MIN_AGREEMENT and sizes[1] < sizes[0]
    why = f"nothing is labelled; {_change_text(sizes, agreement)}"
    return CompressionTrial(
        model,
        variant,
        kept,
        *sizes,
        1.0,
        agreement.share,
        1.0 - agreement.share,
        why,
        agreement.share,
        cpu_us_before,
        agreement.work,
    )


def _change_text(sizes: tuple[int, int], agreement: Agreement) -> str:
    elsewhere = f", {agreement.unjudged:.1%} where nothing is judged" if agreement.unjudged < 1 else ""
    smaller = f"{sizes[0] / max(1, sizes[1]):.1f} times smaller"
    return f"{smaller}; {agreement.share:.1%} of {agreement.units:,} answers as before{elsewhere}"


def least_aggressive_variant(model: str) -> str:
    """The name of the form that is nearest to float; empty where every form is bold or has to be taught."""
    return next(
        (form.name for form in reversed(_variants(model)) if not form.training_seconds and not form.is_aggressive), ""
    )


def _models_with_weight(folder: Path) -> set[str]:
    """Models that weigh something in any blend: the others change no answer, so there is nothing to judge."""
    blends = msgspec.json.decode((folder / "scenario.json").read_bytes())["weights"].values()
    return {model for weights in blends for model, weight in weights.items() if weight}


def _prepare_training_data(scenario: str, training_data: TrainingData) -> TrainingData:
    """As models learnt from it; what serving needs beside them is there already."""
    with tempfile.TemporaryDirectory() as scratch:
        return plugins.load_module("scenarios", scenario, "recipe").prepare(training_data, Path(scratch))


def _variants(name: str) -> tuple[CompressionVariant, ...]:
    known = plugins.has_module("models", name, "compress")
    return tuple(plugins.load_module("models", name, "compress").VARIANTS) if known else ()


def _write_variant(
    name: str, variant: CompressionVariant, source: Path, into: Path, distillation_data: DistillationData
) -> None:
    """Writes the form into the model's folder, which is to be empty."""
    plugins.load_module("models", name, "compress").compress(source / name, into / name, variant, distillation_data)


def _hardlink(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
