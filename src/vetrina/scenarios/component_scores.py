"""Component scores: what each model says of the candidates of sampled requests, stored to exchange one model.

A scenario may offer them (``Scenario.component_scores``). Compression judges a variant with them: only the changed model scores
anew, then all are blended again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vetrina.core.types import MetricValues

ScoredAnswers = Sequence[Mapping[str, float]]  # one mapping a request: answer to score, best first


@dataclass(frozen=True)
class SampledResults:
    """What sampled evaluation units and requests get.

    Attributes:
        metric_values: Metric of each evaluation unit; None where nothing is labelled.
        answers: Answers to requests like those of the evaluation.
        unlabelled_answers: Answers to requests for which there are no labels.
        cpu_us: CPU microseconds of one answer.
    """

    metric_values: MetricValues | None
    answers: ScoredAnswers
    unlabelled_answers: ScoredAnswers
    cpu_us: float


class ComponentScores(Protocol):
    """Stored scores of one folder's models, in which one model after the other may be exchanged."""

    @property
    def results(self) -> SampledResults:
        """The results with the models as they are."""
        ...

    def trial_cost(self, model: str) -> float:
        """What judging a variant of a model costs, in answers of all models together; 0 if no sampled answer depends on it."""
        ...

    def exchange(self, model: str, model_folder: Path) -> SampledResults:
        """The results with another variant of a model. The stored scores change only by ``accept``."""
        ...

    def accept(self) -> None:
        """Store the scores of the last exchange."""
        ...

    def exact_results(self, folder: Path) -> SampledResults:
        """The results of a whole folder, computed without stored scores."""
        ...
