"""Launch scenario: audiences for a new product, users similar to a list, or users of a segment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vetrina.core.evaluation_data import EvaluationData, MetricValues
from vetrina.core.progress import Progress
from vetrina.core.protocols import DataSplits
from vetrina.core.settings import Settings
from vetrina.core.snapshots import Snapshot
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import Recipe, TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.scenarios.base import AudienceScenario, ReachPoint
from vetrina.scenarios.component_scores import ScoredAnswers
from vetrina.scenarios.launch import evaluate
from vetrina.scenarios.launch.online import AudienceSelector

RECIPE = Recipe(scenario="launch", models=("affinity", "content", "reach"), baselines=("affinity",), metric="Reach@5%")


class LaunchScenario(AudienceScenario):
    """Users for a new product: category affinities, content similarity, and an audience model of earlier launches."""

    recipe = RECIPE
    purpose = "ranks users by the probability that they buy a product that nobody has bought yet"
    protocol = (
        "judged file on products that nobody had bought before the holdout, all known users ranked, ties at half rank"
    )
    required_tables = frozenset({"events", "products"})
    without_data = "nothing until products and events are ingested"
    always_fitted = ("content",)  # its embeddings are features of the audience model

    @property
    def paths(self) -> tuple[str, ...]:
        """The route is named after what it returns."""
        return ("/v1/audience",)

    def splits(self, snapshot: Snapshot, settings: Settings) -> DataSplits:
        """The log is split by time."""
        from vetrina.data.splits import LogSplits

        return LogSplits(snapshot, settings.weights)

    def models_for(self, training_data: TrainingData) -> tuple[str, ...]:
        """The models that this data supports."""
        from vetrina.scenarios.launch import prepare

        return prepare.models_for(training_data)

    def prepare(self, training_data: TrainingData, into: Path) -> TrainingData:
        """Write what serving needs beside the models; returns the data as the models are trained on it."""
        from vetrina.scenarios.launch import prepare

        return prepare.prepare(training_data, into)

    def default_weights(self, models: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Weights of the blends where there is no validation data."""
        from vetrina.scenarios.launch import tune

        return tune.default_weights(models)

    def tune(
        self, folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress
    ) -> TuningResult:
        """Weights of the blends, and what else validation data decides."""
        from vetrina.scenarios.launch import tune

        return tune.tune(folder, evaluation_data, plan, progress)

    def evaluate(self, folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
        """Reach of each new item: the share of its buyers among the first 5 % of all users."""
        return evaluate.evaluate(folder, evaluation_data, only_model=only_model)

    def sample_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """Items of the catalogue, new ones first."""
        return evaluate.sample_requests(folder, max_requests)

    def answer_requests(self, folder: Path, requests: Sequence[Any]) -> ScoredAnswers:
        """The first users for each item, with their scores."""
        return evaluate.answer_requests(folder, list(requests))

    def reach_curve(self, folder: Path, evaluation_data: EvaluationData) -> list[ReachPoint]:
        """Reach and precision by size of the audience, pooled over the new items; empty where there were none."""
        return evaluate.reach_curve(folder, evaluation_data)

    def load(self, folder: Path) -> AudienceSelector:
        """The audience selector of a bundle's folder."""
        return AudienceSelector(folder)


SCENARIO = LaunchScenario()
