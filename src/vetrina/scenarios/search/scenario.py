"""Search scenario: products for a query."""

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
from vetrina.scenarios.base import QuickRecipe, RankingScenario
from vetrina.scenarios.component_scores import ScoredAnswers
from vetrina.scenarios.search import evaluate
from vetrina.scenarios.search.online import Searcher
from vetrina.scenarios.search.schema import SearchBody

RECIPE = Recipe(scenario="search", models=("bm25", "text", "popular", "fusion"), baselines=("bm25",), metric="NDCG@10")


class SearchScenario(RankingScenario):
    """Products for a query: BM25, dense retrieval, popularity and, where the user is known, taste."""

    recipe = RECIPE
    purpose = "ranks products for a query, personalised where the user is known"
    protocol = (
        "judged file on half of the judged queries, all matching products are ranked; NDCG@10, "
        "unjudged products gain nothing"
    )
    required_tables = frozenset({"products"})
    without_data = "nothing until a catalogue with titles is ingested"
    quick_recipe = QuickRecipe(models=("bm25", "popular"), seconds=15.0)
    drops_unweighted_models = False  # every signal is computed
    body = SearchBody

    def splits(self, snapshot: Snapshot, settings: Settings) -> DataSplits:
        """Queries are split by their hash."""
        from vetrina.data.splits import JudgmentSplits

        return JudgmentSplits(snapshot, settings.weights)

    def models_for(self, training_data: TrainingData) -> tuple[str, ...]:
        """The models that this data supports."""
        from vetrina.scenarios.search import prepare

        return prepare.models_for(training_data)

    def prepare(self, training_data: TrainingData, into: Path) -> TrainingData:
        """Write what serving needs beside the models; returns the data as the models are trained on it."""
        from vetrina.scenarios.search import prepare

        return prepare.prepare(training_data, into)

    def default_weights(self, models: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Weights of the blends where there is no validation data."""
        from vetrina.scenarios.search import tune

        return tune.default_weights(models)

    def tune(
        self, folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress
    ) -> TuningResult:
        """Weights of the blends, and what else validation data decides."""
        from vetrina.scenarios.search import tune

        return tune.tune(folder, evaluation_data, plan, progress)

    def evaluate(self, folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
        """NDCG@10 of each judged query with a relevant product."""
        return evaluate.evaluate(folder, evaluation_data, only_model=only_model)

    def sample_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """Queries: the first words of product titles."""
        return evaluate.sample_requests(folder, max_requests)

    def answer_requests(self, folder: Path, requests: Sequence[Any]) -> ScoredAnswers:
        """The first ten product ids for each request, with their scores."""
        return evaluate.answer_requests(folder, requests)

    def sample_unlabelled_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """Queries of warm users, for whom there are no judgments."""
        return evaluate.sample_unlabelled_requests(folder, max_requests)

    def load(self, folder: Path) -> Searcher:
        """The searcher of a bundle's folder."""
        return Searcher(folder)


SCENARIO = SearchScenario()
