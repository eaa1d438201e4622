"""Predict scenario: a probability, or a number, for each row of a table."""

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
from vetrina.scenarios.base import PredictionScenario, QuickRecipe
from vetrina.scenarios.component_scores import ScoredAnswers
from vetrina.scenarios.predict import evaluate
from vetrina.scenarios.predict.online import Predictor

RECIPE = Recipe(
    scenario="predict",
    models=("mlp", "boosted", "dcn", "tree", "logistic", "ridge"),
    baselines=("logistic", "ridge"),
    metric="negative log loss",
)
_EXTERNAL_MODEL = "onnx"


class PredictScenario(PredictionScenario):
    """Predictions for rows of a table: classifiers, or regressors where the label is a number."""

    recipe = RECIPE
    purpose = "predicts yes or no, or a number, for a row of the shop's table"
    protocol = "a random 80/20 split with seed 42; the 20 % are used for evaluation only"
    required_tables = frozenset({"table"})
    without_data = "nothing until a table with a label is ingested"
    checked_tables = frozenset({"table"})
    quick_recipe = QuickRecipe(models=("logistic", "ridge"), seconds=20.0)
    serves_judged_file = True  # the report needs a holdout that the model has not seen

    @property
    def paths(self) -> tuple[str, ...]:
        """The second path is that of servers which models were asked on before."""
        return ("/v1/predict", "/predict")

    def splits(self, snapshot: Snapshot, settings: Settings) -> DataSplits:
        """Rows are split at random."""
        from vetrina.data.splits import TableSplits

        return TableSplits(snapshot)

    def added_models(self, settings: Settings) -> tuple[str, ...]:
        """The shop's own ONNX model, if it has one."""
        if settings.predict.onnx:
            return (_EXTERNAL_MODEL,)
        return ()

    def external_model(self, settings: Settings) -> str:
        """The file of the shop's own ONNX model."""
        return settings.predict.onnx

    def models_for(self, training_data: TrainingData) -> tuple[str, ...]:
        """The models that this data supports."""
        from vetrina.scenarios.predict import prepare

        return prepare.models_for(training_data)

    def prepare(self, training_data: TrainingData, into: Path) -> TrainingData:
        """Write what serving needs beside the models; returns the data as the models are trained on it."""
        from vetrina.scenarios.predict import prepare

        return prepare.prepare(training_data, into)

    def default_weights(self, models: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Weights of the blends where there is no validation data."""
        from vetrina.scenarios.predict import tune

        return tune.default_weights(models)

    def tune(
        self, folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress
    ) -> TuningResult:
        """Weights of the blends, and what else validation data decides."""
        from vetrina.scenarios.predict import tune

        return tune.tune(folder, evaluation_data, plan, progress)

    def evaluate(self, folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
        """Negative log loss of each row, or negative squared error in standard units of a numeric label."""
        return evaluate.evaluate(folder, evaluation_data, only_model=only_model)

    def sample_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """Rows sampled column by column from the values that the encoding was fitted on."""
        return evaluate.sample_requests(folder, max_requests)

    def answer_requests(self, folder: Path, requests: Sequence[Any]) -> ScoredAnswers:
        """The decision for each row with its probability; a number is rounded to standard deviations of the label."""
        return evaluate.answer_requests(folder, list(requests))

    def load(self, folder: Path) -> Predictor:
        """The predictor of a bundle's folder."""
        return Predictor(folder)


SCENARIO = PredictScenario()
