"""Recommend scenario: products for a user, a session or a product page."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from vetrina.core.data_report import Readiness
from vetrina.core.evaluation_data import EvaluationData, MetricValues
from vetrina.core.progress import Progress
from vetrina.core.protocols import DataSplits
from vetrina.core.settings import Settings
from vetrina.core.snapshots import Snapshot
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import Recipe, TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.evaluation.beyond_accuracy import BeyondAccuracyMetrics
from vetrina.scenarios.base import GoalEffect, QuickRecipe, RankingScenario
from vetrina.scenarios.component_scores import ComponentScores, ScoredAnswers
from vetrina.scenarios.recommend import evaluate, quick
from vetrina.scenarios.recommend.online import Recommender
from vetrina.scenarios.recommend.schema import RecommendBody

RECIPE = Recipe(
    scenario="recommend",
    models=(
        "popular",
        "repeat",
        "lately",
        "item_knn",
        "sessions",
        "graph_filter",
        "ease",
        "friends",
        "image",
        "fusion",
        "sasrec",
        "gru",
    ),
    baselines=("popular", "item_knn"),
    metric="NDCG@10",
)


class RecommendScenario(RankingScenario):
    """Products for a user, a session or a page: a blend of models, re-ranked by LambdaMART where that is better."""

    recipe = RECIPE
    purpose = "ranks products for a user, a session or a product page"
    protocol = (
        "judged file (fit and validation only) on the holdout; the whole catalogue is ranked; products a user had before are "
        "left out where the version leaves them out; ties at half rank; at most 4,000 units; 95 % bootstrap of 2,000 "
        "resamples, seed 42"
    )
    required_tables = frozenset({"events", "products"})
    without_data = "products in their catalogue order once there are products"
    quick_recipe = QuickRecipe(
        models=("popular", "repeat", "item_knn"),
        seconds=30.0,
        hyperparameters={
            "item_knn": {"like": 0.0, "newest_events": 500_000.0}
        },  # no similarity of contents, few events
    )
    always_fitted = ("popular", "image", "fusion")  # popularity orders equals; placements use the other two alone
    reports_every_model = True
    has_business_goals = True
    body = RecommendBody

    def readiness(self, tables: Collection[str]) -> Readiness:
        """Events or products suffice."""
        if "events" in tables:
            return Readiness(self.name, True, "events are there", "")
        if "products" in tables:
            return Readiness(self.name, True, "no events yet: products are shown by stock and date", self.without_data)
        return super().readiness(tables)

    def splits(self, snapshot: Snapshot, settings: Settings) -> DataSplits:
        """The log is split by time."""
        from vetrina.data.splits import LogSplits

        return LogSplits(
            snapshot, settings.weights, business_goal=settings.train.weight_events_by, has_social_graph=True
        )

    def added_models(self, settings: Settings) -> tuple[str, ...]:
        """Further models that the shop wants to be tried."""
        return settings.train.extra_models

    def models_for(self, training_data: TrainingData) -> tuple[str, ...]:
        """The models that this data supports."""
        from vetrina.scenarios.recommend import prepare

        return prepare.models_for(training_data)

    def prepare(self, training_data: TrainingData, into: Path) -> TrainingData:
        """Write what serving needs beside the models; returns the data as the models are trained on it."""
        from vetrina.scenarios.recommend import prepare

        return prepare.prepare(training_data, into)

    def default_weights(self, models: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Weights of the blends where there is no validation data."""
        from vetrina.scenarios.recommend import tune

        return tune.default_weights(models)

    def tune(
        self, folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress
    ) -> TuningResult:
        """Weights of the blends, and what else validation data decides."""
        from vetrina.scenarios.recommend import tune

        return tune.tune(folder, evaluation_data, plan, progress)

    def quick_options(self, training_data: TrainingData, since: float) -> dict[str, Any]:
        """Whether items that a user has interacted with are recommended again."""
        return quick.options(training_data, since)

    def evaluate(self, folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
        """NDCG@10 of each user's next items."""
        return evaluate.evaluate(folder, evaluation_data, only_model=only_model)

    def evaluate_trial(self, folder: Path, evaluation_data: EvaluationData, model: str, max_units: int) -> MetricValues:
        """NDCG@10 of the model alone, on items that are new to the user."""
        return evaluate.evaluate(folder, evaluation_data, only_model=model, new_items_only=True, max_units=max_units)

    def further_metrics(self, folder: Path, evaluation_data: EvaluationData) -> Sequence[MetricValues]:
        """Recall and reciprocal rank."""
        metrics = []
        for metric in evaluate.FURTHER_METRICS:
            metrics.append(evaluate.evaluate(folder, evaluation_data, metric=metric))
        return metrics

    def list_metrics(self, folder: Path) -> BeyondAccuracyMetrics | None:
        """Coverage, novelty, diversity and popularity bias; None where every ranking is empty."""
        return evaluate.list_metrics(folder)

    def evaluate_goals(
        self, folder: Path, evaluation_data: EvaluationData, goals: Mapping[str, float], goal: str
    ) -> GoalEffect:
        """NDCG@10 with business goals of these weights, and the mean business value of the first positions."""
        return evaluate.evaluate_goals(folder, evaluation_data, goals, goal)

    def sample_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """An anonymous visitor and users of the bundle."""
        return evaluate.sample_requests(folder, max_requests)

    def answer_requests(self, folder: Path, requests: Sequence[Any]) -> ScoredAnswers:
        """The first ten product ids for each request, with their scores."""
        return evaluate.answer_requests(folder, requests)

    def sample_unlabelled_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """Visitors of product pages and carts, and users in the placement "discover"."""
        return evaluate.sample_unlabelled_requests(folder, max_requests)

    def component_scores(
        self,
        folder: Path,
        models: Collection[str],
        evaluation_data: EvaluationData | None,
        max_requests: int,
        scratch: Path,
    ) -> ComponentScores:
        """The models' scores of sampled users and requests."""
        from vetrina.scenarios.recommend import component_scores

        return component_scores.ComponentScores(folder, models, evaluation_data, max_requests, scratch)

    def load(self, folder: Path) -> Recommender:
        """The recommender of a bundle's folder."""
        return Recommender(folder)


SCENARIO = RecommendScenario()
