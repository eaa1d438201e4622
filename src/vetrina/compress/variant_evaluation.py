"""Evaluation of compression variants: the scenario's metric, and agreement with the float models' answers.

A scenario that offers component scores (``scenarios/<name>/component_scores.py``) is evaluated on these: only the model
with the variant scores anew. In any other scenario all models answer everything again.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vetrina.core.types import Checkpoint, EvaluationData, MetricValues
from vetrina.scenarios.agreement import Agreement, ReferenceAnswers, compare_answers
from vetrina.scenarios.base import find_scenario
from vetrina.scenarios.component_scores import ComponentScores, SampledResults

MAX_REQUESTS = 5_000  # like those of the evaluation


@dataclass(frozen=True)
class Quality:
    """Quality of a scenario's folder.

    Attributes:
        metric_values: Metric by evaluation unit; None where nothing is labelled.
        agreement: Agreement with the answers of the float models.
    """

    metric_values: MetricValues | None
    agreement: Agreement

    @property
    def mean(self) -> float:
        """Mean of the metric; where nothing is labelled the share of equal answers stands for it."""
        if self.metric_values is None:
            return self.agreement.share
        return float(self.metric_values.values.mean())


class VariantEvaluation(Protocol):
    """Evaluates variants of the models in one folder."""

    @property
    def initial_quality(self) -> Quality:
        """Quality of the float models."""
        ...

    def trial_cost(self, model: str) -> float:
        """What judging a variant of a model costs, in answers of all models; 0 if no answer that is evaluated depends on it."""
        ...

    def evaluate_variant(self, model: str) -> Quality:
        """Quality with the variant of a model that lies in the folder now."""
        ...

    def accept(self) -> None:
        """The variant that was evaluated last stays."""
        ...

    def evaluate_whole(self) -> Quality | None:
        """Exact quality of the whole folder; None where ``evaluate_variant`` is exact."""
        ...


def open_evaluation(
    checkpoint: Checkpoint, models: Collection[str], folder: Path, validation: EvaluationData | None
) -> VariantEvaluation:
    """The evaluation of the variants of a scenario's models.

    Args:
        checkpoint: The float models.
        models: Models that have variants.
        folder: Folder that gets the variants.
        validation: Validation data; None where nothing is labelled.
    """
    scenario = find_scenario(checkpoint.scenario)
    scores = scenario.component_scores(checkpoint.folder, models, validation, MAX_REQUESTS, folder.parent)
    if scores is None:
        return FolderEvaluation(checkpoint, folder, validation)
    return ComponentEvaluation(scores, folder)


class FolderEvaluation:
    """Evaluation by all models of the folder. Exact."""

    def __init__(self, checkpoint: Checkpoint, folder: Path, validation: EvaluationData | None) -> None:
        """Evaluates the float models.

        Args:
            checkpoint: The float models.
            folder: Folder that gets the variants.
            validation: Validation data; None where nothing is labelled.
        """
        self._scenario = checkpoint.scenario
        self._folder = folder
        self._validation = validation
        self._reference = ReferenceAnswers(checkpoint.scenario, checkpoint.folder, MAX_REQUESTS)
        metric_values = self._evaluate(checkpoint.folder)
        self._initial_quality = Quality(metric_values, self._reference.self_agreement())

    @property
    def initial_quality(self) -> Quality:
        """Quality of the float models."""
        return self._initial_quality

    def trial_cost(self, model: str) -> float:
        """The number of units and requests that are evaluated."""
        n_units = 0
        if self._initial_quality.metric_values is not None:
            n_units = len(self._initial_quality.metric_values.values)
        return float(n_units + self._reference.n_requests)

    def evaluate_variant(self, model: str) -> Quality:
        """Quality of the folder as it is now."""
        return Quality(self._evaluate(self._folder), self._reference.compare_folder(self._folder))

    def accept(self) -> None:
        """Nothing to do: the next evaluation reads the folder again."""

    def evaluate_whole(self) -> None:
        """None: ``evaluate_variant`` is exact."""
        return None

    def _evaluate(self, folder: Path) -> MetricValues | None:
        """The scenario's metric; None where nothing is labelled."""
        if self._validation is None:
            return None
        metric_values = find_scenario(self._scenario).evaluate(folder, self._validation)
        if not len(metric_values.values):
            return None
        return metric_values


class ComponentEvaluation:
    """Evaluation on the component scores of a sample. Approximate as its scenario's ``component_scores`` describes."""

    def __init__(self, scores: ComponentScores, folder: Path) -> None:
        """``scores`` are those of the float models, ``folder`` gets the variants."""
        self._scores = scores
        self._folder = folder
        self._reference: SampledResults = scores.results
        self._initial_quality = self._compare(self._reference)

    @property
    def initial_quality(self) -> Quality:
        """Quality of the float models."""
        return self._initial_quality

    def trial_cost(self, model: str) -> float:
        """One model's share of the answers that depend on it."""
        return self._scores.trial_cost(model)

    def evaluate_variant(self, model: str) -> Quality:
        """Quality with the variant of a model that lies in the folder now."""
        return self._compare(self._scores.exchange(model, self._folder / model))

    def accept(self) -> None:
        """The scores that were computed last replace those of before."""
        self._scores.accept()

    def evaluate_whole(self) -> Quality:
        """Quality of the folder as it is now, by all models."""
        return self._compare(self._scores.exact_results(self._folder))

    def _compare(self, results: SampledResults) -> Quality:
        agreement = compare_answers(results.answers, self._reference.answers)
        unlabelled = compare_answers(results.unlabelled_answers, self._reference.unlabelled_answers)
        agreement = replace(agreement, work=results.cpu_us, unjudged=unlabelled.share)
        return Quality(results.metric_values, agreement)
