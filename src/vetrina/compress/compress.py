"""Compression stage: selects each model's cheapest variant that is acceptable on validation data.

Variants are evaluated in the serving runtime. A variant is acceptable if validation shows no relevant loss, and the answers
stay the same where nothing is labelled. The search (``variant_search.py``) ends when the run's budget for evaluations and for
distillation is spent.
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

_MIN_AGREEMENT = 0.95  # share of answers that stay the same, where labels cannot resolve the allowed loss
_MAX_AGREEMENT_REQUESTS = 5_000
# The gate requires 0.9 of the judged file, which is trained on more data, so variants kept here need some room.
_MIN_AGREEMENT_LABELLED = 0.93
_FITS_PER_RUN = 3  # in each of which a smaller model is distilled
_DISTILLATION_BUDGET_SHARE = 0.15  # of the run's whole budget


@dataclass(frozen=True)
class CompressionResult:
    """The folder to pack, and the variants that were tried."""

    folder: Path
    trials: tuple[CompressionTrial, ...]

    @property
    def kept_variants(self) -> dict[str, str]:
        """The variant in the folder, by model, of each model that has a compressed one."""
        return {trial.model: trial.step for trial in self.trials if trial.kept}


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
    """Compress the models of a checkpoint.

    Each variant is judged on ``validation``, those that leave the least work first, until one is acceptable; without labels
    it is judged by agreement with the float models' answers alone. With ``repeat_variants`` nothing is judged.

    Args:
        checkpoint: Float models.
        training_data: Data that smaller models are distilled on.
        plan: Seed, threads and budgets.
        into: Output folder; replaced if it exists.
        progress: Where progress is reported.
        validation: Validation data.
        repeat_variants: Variants to apply, by model.

    Returns:
        The output folder and the variants that were tried.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(checkpoint.folder, into, copy_function=_hardlink)
    distillation_data = DistillationData(
        lambda: _prepare_training_data(checkpoint.scenario, training_data), plan, progress
    )
    if repeat_variants is not None:
        _repeat_variants(checkpoint, repeat_variants, into, distillation_data)
        return CompressionResult(into, ())
    weighted_models = _models_with_weight(checkpoint.folder)
    names = [name for name in checkpoint.notes if name in weighted_models and _variants(name)]

    def order(name: str) -> tuple[bool, int, str]:
        has_only_untested_variant = len(_variants(name)) == 1 and bool(least_aggressive_variant(name))
        return has_only_untested_variant, -size_of(checkpoint.folder / name), name

    # Large models with aggressive variants come first: variants that are kept without a test must not consume the allowed
    # change in answers.
    names.sort(key=order)
    evaluate = plugins.load_module("scenarios", checkpoint.scenario, "evaluate").evaluate
    trials: list[CompressionTrial] = []
    with progress.step("compress: evaluate variants", len(names) + 1) as step:
        search = _VariantSearch(checkpoint, into, distillation_data, evaluate, validation)
        step.advance()
        for name in names:
            trials += search.try_variants(name)
            step.advance()
    return CompressionResult(into, tuple(trials))


def _repeat_variants(
    checkpoint: Checkpoint, variant_names: Mapping[str, str], into: Path, distillation_data: DistillationData
) -> None:
    """Write the named variants of the models that the checkpoint has."""
    for model, variant_name in variant_names.items():
        if model not in checkpoint.notes:
            continue
        for variant in _variants(model):
            if variant.name == variant_name:
                shutil.rmtree(into / model)
                (into / model).mkdir()
                _write_variant(model, variant, checkpoint.folder, into, distillation_data)
                break


class _VariantSearch:
    """Search in one folder, where one model after the other gets its variant."""

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
        self._scores_before: MetricValues | None = None
        if validation:
            self._scores_before = evaluate(into, validation)
        self._reference = ReferenceAnswers(checkpoint.scenario, checkpoint.folder, _MAX_AGREEMENT_REQUESTS, validation)
        self._agreement_before = self._reference.self_agreement()
        self._answers_left = distillation_data.plan.answers
        self._training_seconds_left = _DISTILLATION_BUDGET_SHARE * distillation_data.plan.budget_seconds

    def try_variants(self, name: str) -> list[CompressionTrial]:
        """Trials of a model's variants, in their order. Leaves the kept variant, or the float model, in the folder."""
        model_folder = self._into / name
        trials = list[CompressionTrial]()
        with tempfile.TemporaryDirectory(dir=self._into.parent) as scratch:
            best_folder = Path(scratch) / "best"
            best_results = (self._scores_before, self._agreement_before)
            shutil.move(model_folder, best_folder)
            variants = _variants(name)
            while candidates := self._affordable_variants(name, variants, has_kept=any(t.kept for t in trials)):
                variant = middle_variant(candidates)
                trial, results = self._evaluate_variant(name, variant)
                if trial.kept:
                    shutil.rmtree(best_folder)
                    shutil.move(model_folder, best_folder)
                    best_results = results
                    trials = [_mark_superseded(earlier) for earlier in trials]
                trials.append(trial)
                variants = remaining_variants(variants, variant, trial.kept)
            shutil.rmtree(model_folder, ignore_errors=True)
            shutil.move(best_folder, model_folder)
        self._scores_before, self._agreement_before = best_results
        return trials

    def _affordable_variants(
        self, name: str, variants: Sequence[CompressionVariant], *, has_kept: bool
    ) -> list[CompressionVariant]:
        """Variants that may still be judged.

        Aggressive ones while the budget pays for their answers, distilled ones while it pays for their training.
        """
        is_compared = self._reference.affects_any_request(name)
        can_judge_aggressive = is_compared and self._answers_per_trial(name) <= self._answers_left
        affordable = [
            variant
            for variant in variants
            if variant_training_seconds(variant, self._distillation_data.plan) <= self._training_seconds_left
        ]
        if can_judge_aggressive:
            return affordable
        if has_kept or (
            self._scores_before is None and not is_compared
        ):  # without labels the answers have to be compared
            return []
        least_aggressive = least_aggressive_variant(name)
        return [variant for variant in affordable if variant.name == least_aggressive]

    def _answers_per_trial(self, name: str) -> int:
        """Number of answers that judging one variant of a model takes."""
        labelled = 0
        if self._scores_before is not None and self._reference.affects_labelled_requests(name):
            labelled = len(self._scores_before.values)
        return labelled + self._reference.n_requests_for(name)

    def _evaluate_variant(
        self, name: str, variant: CompressionVariant
    ) -> tuple[CompressionTrial, tuple[MetricValues | None, Agreement]]:
        """The trial of a variant, with the folder's metric and agreement. Leaves the variant in the folder."""
        is_aggressive = variant.name != least_aggressive_variant(name)
        if is_aggressive:
            self._answers_left -= self._answers_per_trial(name)
        self._training_seconds_left -= variant_training_seconds(variant, self._distillation_data.plan)
        shutil.rmtree(self._into / name, ignore_errors=True)
        (self._into / name).mkdir()
        try:
            _write_variant(name, variant, self._checkpoint.folder, self._into, self._distillation_data)
            scores = self._scores_before
            # Requests that the model does not affect have the scores of before.
            if scores is not None and self._reference.affects_labelled_requests(name):
                scores = self._evaluate(self._into, self._validation)
            if scores is not None and not np.isfinite(scores.values).all():
                raise UnusableVariant("its answers are no numbers")
            agreement = self._reference.compare_folder(self._into, changed_model=name, previous=self._agreement_before)
        except UnusableVariant as error:
            return self._rejected_trial(name, variant, str(error)), (self._scores_before, self._agreement_before)
        sizes = (size_of(self._checkpoint.folder / name), size_of(self._into / name))
        cpu_us_before = self._agreement_before.work
        if self._scores_before is None or scores is None:
            return judge_by_agreement(name, variant.name, sizes, agreement, cpu_us_before), (None, agreement)
        trial = judge_with_labels(
            name,
            variant.name,
            self._scores_before,
            scores,
            sizes,
            agreement,
            cpu_us_before,
            is_aggressive=is_aggressive,
        )
        return trial, (scores, agreement)

    def _rejected_trial(self, name: str, variant: CompressionVariant, why: str) -> CompressionTrial:
        quality = self._agreement_before.share
        if self._scores_before is not None:
            quality = float(self._scores_before.values.mean())
        size = size_of(self._checkpoint.folder / name)
        return CompressionTrial(name, variant.name, False, size, size, quality, quality, 0.0, why, 0.0)


def _mark_superseded(trial: CompressionTrial) -> CompressionTrial:
    """The trial, no longer kept because a smaller variant is acceptable, too."""
    if not trial.kept:
        return trial
    return replace(trial, kept=False, why=f"{trial.why}; a smaller form may stay, too")


def variant_training_seconds(variant: CompressionVariant, plan: TrainingPlan) -> float:
    """Seconds of distilling a variant in all fits of a run."""
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
    """Judge a variant on labelled data and by agreement with the float models' answers.

    It is kept if the upper 95 % bound of the loss is at most max(0.5 %, the data's resolution) and the point loss at most 0.5 %
    (``metrics.quality_loss``), if it is smaller, and if the answers agree: ``_MIN_AGREEMENT_LABELLED`` of them,
    ``_MIN_AGREEMENT`` where labels cannot resolve a loss of 0.5 %. Aggressive variants need ``_MIN_AGREEMENT`` on unlabelled
    requests, too; the least aggressive one is not tested there.

    Args:
        model: Name of the model.
        variant: Name of the variant.
        scores_before: Metric by unit before.
        scores_after: Metric of the same units after.
        sizes: Bytes before and after.
        agreement: Agreement after.
        cpu_us_before: CPU-microseconds of an answer before.
        is_aggressive: Whether it is not the least aggressive variant.
    """
    loss = quality_loss(scores_before.values, scores_after.values)
    min_agreement = _MIN_AGREEMENT
    if loss.has_resolution:
        min_agreement = _MIN_AGREEMENT_LABELLED
    agrees = agreement.share >= min_agreement
    if is_aggressive:
        agrees = agrees and agreement.unjudged >= _MIN_AGREEMENT
    is_kept = bool(loss.is_acceptable and sizes[1] < sizes[0] and agrees)
    why = f"loss {loss.point:+.2%}, at most {loss.upper:+.2%} (allowed {loss.allowed:.2%}); {_change_text(sizes, agreement)}"
    mean_before = float(scores_before.values.mean())
    mean_after = float(scores_after.values.mean())
    return CompressionTrial(
        model,
        variant,
        is_kept,
        *sizes,
        mean_before,
        mean_after,
        loss.upper,
        why,
        agreement.share,
        cpu_us_before,
        agreement.work,
    )


def judge_by_agreement(
    model: str, variant: str, sizes: tuple[int, int], agreement: Agreement, cpu_us_before: float = 0.0
) -> CompressionTrial:
    """Judge a variant where nothing is labelled: ``_MIN_AGREEMENT`` of the answers must be those of the float models.

    That share stands for the quality.

    Args:
        model: Name of the model.
        variant: Name of the variant.
        sizes: Bytes before and after.
        agreement: Agreement after.
        cpu_us_before: CPU-microseconds of an answer before.
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
    text = f"{sizes[0] / max(1, sizes[1]):.1f} times smaller; {agreement.share:.1%} of {agreement.units:,} answers as before"
    if agreement.unjudged < 1:
        text += f", {agreement.unjudged:.1%} where nothing is judged"
    return text


def least_aggressive_variant(model: str) -> str:
    """The name of the variant nearest to float; empty where every variant is aggressive or has to be distilled."""
    for variant in reversed(_variants(model)):
        if not variant.training_seconds and not variant.is_aggressive:
            return variant.name
    return ""


def _models_with_weight(folder: Path) -> set[str]:
    """Models with weight in any blend: the others change no answer, so there is nothing to judge."""
    scenario_file = msgspec.json.decode((folder / "scenario.json").read_bytes())
    names: set[str] = set()
    for weights in scenario_file["weights"].values():
        names |= {name for name, weight in weights.items() if weight}
    return names


def _prepare_training_data(scenario: str, training_data: TrainingData) -> TrainingData:
    """The data as models are trained on it. What ``prepare`` writes for serving is discarded: the folder has it already."""
    with tempfile.TemporaryDirectory() as scratch:
        return plugins.load_module("scenarios", scenario, "recipe").prepare(training_data, Path(scratch))


def _variants(name: str) -> tuple[CompressionVariant, ...]:
    """The compression variants of a model, those that leave the least work first."""
    if not plugins.has_module("models", name, "compress"):
        return ()
    return tuple(plugins.load_module("models", name, "compress").VARIANTS)


def _write_variant(
    name: str, variant: CompressionVariant, source: Path, into: Path, distillation_data: DistillationData
) -> None:
    """Write a variant into the model's empty folder."""
    plugins.load_module("models", name, "compress").compress(source / name, into / name, variant, distillation_data)


def _hardlink(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
