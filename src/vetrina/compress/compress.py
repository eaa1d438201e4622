"""Compression stage: selects each model's most aggressive variant that is acceptable on validation data.

The variants of a model are a ladder from mild to aggressive. It is climbed until a variant is not acceptable, or the
run's budget for evaluations and for distillation does not pay for the next one; the last acceptable variant stays.
A variant is acceptable if validation shows no relevant loss, and the answers stay the same where nothing is labelled.
Where variants are judged approximately (``variant_evaluation.py``) the chosen combination is judged once more, exactly.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from vetrina.compress.variant_evaluation import Quality, VariantEvaluation, open_evaluation
from vetrina.core.compression import CompressionTrial, CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.files import size_of
from vetrina.core.progress import Progress
from vetrina.core.types import Checkpoint, EvaluationData, MetricValues, TrainingData, TrainingPlan
from vetrina.evaluation.quality_loss import quality_loss
from vetrina.models.base import find_model
from vetrina.scenarios.agreement import Agreement
from vetrina.scenarios.base import find_scenario

_MIN_AGREEMENT = 0.95  # share of answers that stay the same, where labels cannot resolve the allowed loss
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

    The variants of each model are judged on ``validation``, mild ones first, until one is not acceptable; without labels they are
    judged by agreement with the float models' answers alone. With ``repeat_variants`` nothing is judged.

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
    names = [name for name in checkpoint.notes if name in weighted_models and find_model(name).variants]
    if not names:
        return CompressionResult(into, ())

    def order(name: str) -> tuple[bool, int, str]:
        has_only_untested_variant = len(find_model(name).variants) == 1 and bool(least_aggressive_variant(name))
        return has_only_untested_variant, -size_of(checkpoint.folder / name), name

    # Large models with aggressive variants come first: variants that are kept without a test must not consume the allowed
    # change in answers.
    names.sort(key=order)
    with progress.step("compress: evaluate variants", len(names) + 2) as step:
        evaluation = open_evaluation(checkpoint, names, into, validation)
        ladders = _Ladders(checkpoint, into, distillation_data, evaluation)
        step.advance()
        for name in names:
            ladders.climb(name)
            step.advance()
        ladders.undo_steps_that_fail_exactly()
        step.advance()
    return CompressionResult(into, ladders.trials())


def _repeat_variants(
    checkpoint: Checkpoint, variant_names: Mapping[str, str], into: Path, distillation_data: DistillationData
) -> None:
    """Write the named variants of the models that the checkpoint has."""
    for model, variant_name in variant_names.items():
        if model not in checkpoint.notes:
            continue
        for variant in find_model(model).variants:
            if variant.name == variant_name:
                shutil.rmtree(into / model)
                (into / model).mkdir()
                find_model(model).compress(checkpoint.folder / model, into / model, variant, distillation_data)
                break


@dataclass(frozen=True)
class _Step:
    """An accepted variant.

    Attributes:
        model: Name of the model.
        variant: The variant.
        trial_index: Its position among all trials.
        quality_before: Quality that it was judged against: that before the model's first step.
    """

    model: str
    variant: CompressionVariant
    trial_index: int
    quality_before: Quality


class _Ladders:
    """Ladders in one folder, where one model after the other gets its variant."""

    def __init__(
        self, checkpoint: Checkpoint, into: Path, distillation_data: DistillationData, evaluation: VariantEvaluation
    ) -> None:
        self._checkpoint = checkpoint
        self._into = into
        self._distillation_data = distillation_data
        self._evaluation = evaluation
        self._quality = evaluation.initial_quality
        self._answers_left = float(distillation_data.plan.answers)
        self._training_seconds_left = _DISTILLATION_BUDGET_SHARE * distillation_data.plan.budget_seconds
        self._trials: list[CompressionTrial] = []
        self._steps: list[_Step] = []

    def trials(self) -> tuple[CompressionTrial, ...]:
        """All trials in their order; of a model's accepted variants only the last one is kept."""
        trials = self._trials.copy()
        last_steps = {step.model: step for step in self._steps}
        for step in self._steps:
            if step is not last_steps[step.model]:
                trials[step.trial_index] = _mark_superseded(trials[step.trial_index])
        return tuple(trials)

    def climb(self, name: str) -> None:
        """Try a model's variants until one is not acceptable or not paid for. The last acceptable one stays in the folder."""
        model_folder = self._into / name
        quality_before = self._quality
        with tempfile.TemporaryDirectory(dir=self._into.parent) as scratch:
            best_folder = Path(scratch) / "best"
            shutil.move(model_folder, best_folder)
            for variant in find_model(name).variants:
                if not self._can_afford(name, variant):
                    break
                self._spend(name, variant)
                trial, quality = self._try_variant(name, variant, quality_before)
                self._trials.append(trial)
                if not trial.kept:
                    break
                self._evaluation.accept()
                self._quality = quality
                self._steps.append(_Step(name, variant, len(self._trials) - 1, quality_before))
                shutil.rmtree(best_folder)
                shutil.move(model_folder, best_folder)
            shutil.rmtree(model_folder, ignore_errors=True)
            shutil.move(best_folder, model_folder)

    def undo_steps_that_fail_exactly(self) -> None:
        """Judge the combination exactly, and undo the last step as long as it fails."""
        while self._steps:
            quality = self._evaluation.evaluate_whole()
            if quality is None:
                return
            step = self._steps[-1]
            trial = self._judge(step.model, step.variant, step.quality_before, quality)
            if trial.kept:
                return
            why = f"undone, exactly judged with all others: {trial.why}"
            self._trials[step.trial_index] = replace(self._trials[step.trial_index], kept=False, why=why)
            self._undo_last_step()

    def _undo_last_step(self) -> None:
        """The model has the variant of its step before, or is float."""
        undone = self._steps.pop()
        model_folder = self._into / undone.model
        shutil.rmtree(model_folder)
        if self._steps and self._steps[-1].model == undone.model:
            self._write_variant(undone.model, self._steps[-1].variant)
        else:
            shutil.copytree(self._checkpoint.folder / undone.model, model_folder, copy_function=_hardlink)

    def _can_afford(self, name: str, variant: CompressionVariant) -> bool:
        """Whether a variant may be judged.

        Aggressive ones while the budget pays for their answers, distilled ones while it pays for their training.
        """
        if variant_training_seconds(variant, self._distillation_data.plan) > self._training_seconds_left:
            return False
        cost = self._evaluation.trial_cost(name)
        if variant.name == least_aggressive_variant(name):
            # Without labels the answers have to be compared.
            return cost > 0 or self._quality.metric_values is not None
        return 0 < cost <= self._answers_left

    def _spend(self, name: str, variant: CompressionVariant) -> None:
        """Subtract what a variant costs from the budgets; the least aggressive one needs no budget for answers."""
        if variant.name != least_aggressive_variant(name):
            self._answers_left -= self._evaluation.trial_cost(name)
        self._training_seconds_left -= variant_training_seconds(variant, self._distillation_data.plan)

    def _try_variant(
        self, name: str, variant: CompressionVariant, quality_before: Quality
    ) -> tuple[CompressionTrial, Quality]:
        """The trial of a variant, and the quality with it. Leaves the variant in the folder."""
        try:
            self._write_variant(name, variant)
            quality = self._evaluation.evaluate_variant(name)
            if quality.metric_values is not None and not np.isfinite(quality.metric_values.values).all():
                raise UnusableVariant("its answers are no numbers")
        except UnusableVariant as error:
            return self._rejected_trial(name, variant, quality_before, str(error)), quality_before
        return self._judge(name, variant, quality_before, quality), quality

    def _write_variant(self, name: str, variant: CompressionVariant) -> None:
        shutil.rmtree(self._into / name, ignore_errors=True)
        (self._into / name).mkdir()
        source = self._checkpoint.folder / name
        find_model(name).compress(source, self._into / name, variant, self._distillation_data)

    def _judge(self, name: str, variant: CompressionVariant, before: Quality, after: Quality) -> CompressionTrial:
        sizes = (size_of(self._checkpoint.folder / name), size_of(self._into / name))
        cpu_us_before = before.agreement.work
        if before.metric_values is None or after.metric_values is None:
            return judge_by_agreement(name, variant.name, sizes, after.agreement, cpu_us_before)
        return judge_with_labels(
            name,
            variant.name,
            before.metric_values,
            after.metric_values,
            sizes,
            after.agreement,
            cpu_us_before,
            is_aggressive=variant.name != least_aggressive_variant(name),
        )

    def _rejected_trial(self, name: str, variant: CompressionVariant, quality: Quality, why: str) -> CompressionTrial:
        size = size_of(self._checkpoint.folder / name)
        return CompressionTrial(name, variant.name, False, size, size, quality.mean, quality.mean, 0.0, why, 0.0)


def _mark_superseded(trial: CompressionTrial) -> CompressionTrial:
    """The trial, no longer kept because a smaller variant is acceptable, too."""
    return replace(trial, kept=False, why=f"{trial.why}; a smaller variant is acceptable, too")


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
    (``evaluation.quality_loss``), if it is smaller, and if the answers agree: ``_MIN_AGREEMENT_LABELLED`` of them,
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
    for variant in find_model(model).variants:
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
        return find_scenario(scenario).prepare(training_data, Path(scratch))


def _hardlink(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
