"""Ads scenario: which ads a user is shown, in which order and at which price."""

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
from vetrina.scenarios.ads import evaluate
from vetrina.scenarios.ads.online import AdServer
from vetrina.scenarios.ads.schema import AdsBody
from vetrina.scenarios.base import RankingScenario
from vetrina.scenarios.component_scores import ScoredAnswers

RECIPE = Recipe(
    scenario="ads", models=("boosted", "dcn", "din", "logistic"), baselines=("logistic",), metric="negative log loss"
)


class AdsScenario(RankingScenario):
    """Ads for a user: click models on affinities, an auction, pacing."""

    recipe = RECIPE
    purpose = "predicts the probability of a click on an ad, for the auction of slots on the shop's own pages"
    protocol = (
        "judged file on the impressions of the holdout, with features as they were when each was served; log loss"
    )
    required_tables = frozenset({"ads", "events", "products"})
    without_data = "no ads until products, events and ads are ingested"
    ranks_whole_catalogue = False
    charges_clicks = True
    body = AdsBody

    def splits(self, snapshot: Snapshot, settings: Settings) -> DataSplits:
        """Impressions are split by time."""
        from vetrina.data.splits import ImpressionSplits

        return ImpressionSplits(snapshot, settings.weights)

    def models_for(self, training_data: TrainingData) -> tuple[str, ...]:
        """The models that this data supports."""
        from vetrina.scenarios.ads import prepare

        return prepare.models_for(training_data)

    def prepare(self, training_data: TrainingData, into: Path) -> TrainingData:
        """Write what serving needs beside the models; returns the data as the models are trained on it."""
        from vetrina.scenarios.ads import prepare

        return prepare.prepare(training_data, into)

    def default_weights(self, models: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Weights of the blends where there is no validation data."""
        from vetrina.scenarios.ads import tune

        return tune.default_weights(models)

    def tune(
        self, folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress
    ) -> TuningResult:
        """Weights of the blends, and what else validation data decides."""
        from vetrina.scenarios.ads import tune

        return tune.tune(folder, evaluation_data, plan, progress)

    def evaluate(self, folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
        """Negative log loss of each impression."""
        return evaluate.evaluate(folder, evaluation_data, only_model=only_model)

    def sample_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """An anonymous visitor and users of the bundle, each with the time at which the bundle's history ends."""
        return evaluate.sample_requests(folder, max_requests)

    def answer_requests(self, folder: Path, requests: Sequence[Any]) -> ScoredAnswers:
        """For each request the products of the ads with the highest click probability, with these probabilities."""
        return evaluate.answer_requests(folder, list(requests))

    def load(self, folder: Path) -> AdServer:
        """The ad server of a bundle's folder."""
        return AdServer(folder)


SCENARIO = AdsScenario()
