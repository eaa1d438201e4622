"""Interface of a scenario, what a bundle of it answers, and how scenarios are found.

A scenario is one folder, ``scenarios/NAME``, whose module ``scenario.py`` holds one object, ``SCENARIO``. Every stage asks that
object, and knows no scenario by name. What a scenario answers with decides its class: products for a user
(``RankingScenario``), users for the shop (``AudienceScenario``), or a prediction for each row (``PredictionScenario``).

Serving imports ``scenario.py``, too: methods that need a training library import it when they are called.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vetrina import scenarios
from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.answers import Answer, Audience
from vetrina.core.arrays import Floats
from vetrina.core.data_report import Readiness
from vetrina.core.errors import BadInput
from vetrina.core.evaluation_data import EvaluationData, MetricValues
from vetrina.core.progress import Progress
from vetrina.core.protocols import Context, DataSplits
from vetrina.core.requests import AudienceRequest, Request
from vetrina.core.settings import Settings
from vetrina.core.snapshots import Snapshot
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import Recipe, TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.evaluation.beyond_accuracy import BeyondAccuracyMetrics
from vetrina.features.histories import Histories
from vetrina.features.table_encoding import TableEncoding
from vetrina.scenarios.component_scores import ComponentScores, ScoredAnswers
from vetrina.scenarios.ranking_body import RankingBody

Row = Sequence[Any] | Mapping[str, Any]  # values in the order of the table's columns, or by column
SHOP_TABLES = frozenset({"products", "events", "judgments", "users", "ads"})


@dataclass(frozen=True)
class QuickRecipe:
    """What is released while nothing serves: few models with fixed weights, nothing compressed.

    Attributes:
        models: Models, a part of the scenario's own.
        seconds: About how long it takes to release it for a hundred thousand products or rows.
        hyperparameters: Hyper-parameters by model, where they differ from the model's own.
    """

    models: tuple[str, ...]
    seconds: float
    hyperparameters: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ReachPoint:
    """A point of the reach curve.

    With an audience of the first ``audience_share`` of all users for each new item, ``reach`` is the share of buyers who are in
    the audience, ``precision`` the share of the audience who buy.
    """

    audience_share: float
    reach: float
    precision: float


@dataclass(frozen=True)
class GoalEffect:
    """The metric with business goals of some weights, and the mean business value of the first positions (NaN without any)."""

    relevance: MetricValues
    business_value: float


# What a bundle is, opened for serving


class LoadedBundle(ABC):
    """A bundle opened for serving."""

    @abstractmethod
    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a probe, one that is typical and needs nothing but the bundle."""


class RankingBundle(LoadedBundle):
    """A bundle that answers with ranked products.

    Attributes:
        catalogue: The products that it knows.
        histories: What it knows of users; events after ``histories.until`` are recent.
    """

    catalogue: CatalogueIndex
    histories: Histories

    @abstractmethod
    def answer(self, request: Request, context: Context) -> Answer:
        """The products for a request, best first. Raises BadInput for a request that breaks a rule."""

    @property
    def daily_budgets(self) -> Mapping[str, float]:
        """Daily budget of each campaign whose spend limits the answers; none unless a scenario has campaigns."""
        return {}


class AudienceBundle(LoadedBundle):
    """A bundle that answers with users."""

    @abstractmethod
    def answer(self, request: AudienceRequest, context: Context) -> Audience:
        """The users for a request, best first. Raises BadInput or NotFound for a request that breaks a rule."""


class PredictionBundle(LoadedBundle):
    """A bundle that answers each row with a probability or a number.

    Attributes:
        encoding: The table's columns, and whether the label is a number (``encoding.number``).
        threshold: Probability from which the decision is yes.
        rmse: Root mean squared error of a number on validation rows; None of a probability.
        active_models: Models with weight.
        weights: Weight by model.
    """

    encoding: TableEncoding
    threshold: float
    rmse: float | None
    active_models: tuple[str, ...]
    weights: dict[str, float]

    @abstractmethod
    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """``prediction`` of each row, and its ``probability`` where the label is yes or no. Raises BadInput for a bad row."""

    @abstractmethod
    def predict(self, columns: Mapping[str, np.ndarray], only_model: str | None = None) -> Floats:
        """(rows,) probabilities, or numbers in standard units.

        Args:
            columns: (rows,) raw values by column.
            only_model: Predict with this model alone, without calibration.
        """

    @abstractmethod
    def bins(self, rows: Sequence[Row]) -> list[list[int]]:
        """For each row the bins of its values, which are logged instead of the values."""

    @abstractmethod
    def answer_probe_rows(self, n_rows: int) -> None:
        """Answer one request with ``n_rows`` rows, as a probe."""

    def rules(self) -> str:
        """The rules in words where the model is one that people can read; else empty."""
        return ""


# The interface


class Scenario(ABC):
    """What the path from data to answers has to know of a scenario. Write a subclass of one of the three classes below.

    Attributes:
        recipe: Name, models, baselines and metric.
        purpose: What the models are for, in the model card: "ranks products for a query".
        protocol: How versions are judged, in the model card.
        required_tables: Tables without which nothing can be trained.
        without_data: What is served as long as those are missing.
        checked_tables: Tables whose checks ``vetrina validate`` runs.
        quick_recipe: What is released while nothing serves; None where that would be no faster.
        drops_unweighted_models: Whether a bundle needs no model with weight 0.
        always_fitted: Models that a bundle needs whatever their weight.
        serves_judged_file: Whether the judged file is served, not one that is fitted again on all data.
        reports_every_model: Whether reports have the metric of every model alone, not only of the baselines.
    """

    recipe: ClassVar[Recipe]
    purpose: ClassVar[str]
    protocol: ClassVar[str]
    required_tables: ClassVar[frozenset[str]]
    without_data: ClassVar[str]
    checked_tables: ClassVar[frozenset[str]] = SHOP_TABLES
    quick_recipe: ClassVar[QuickRecipe | None] = None
    drops_unweighted_models: ClassVar[bool] = True
    always_fitted: ClassVar[tuple[str, ...]] = ()
    serves_judged_file: ClassVar[bool] = False
    reports_every_model: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The scenario's name, which is that of its folder."""
        return self.recipe.scenario

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the HTTP route that asks it."""
        return (f"/v1/{self.name}",)

    # Data

    def readiness(self, tables: Collection[str]) -> Readiness:
        """Whether a snapshot with these tables supports the scenario, and what is served if it does not."""
        missing = sorted(self.required_tables - set(tables))
        if missing:
            return Readiness(self.name, False, f"no {' and no '.join(missing)} yet", self.without_data)
        return Readiness(self.name, True, f"{', '.join(sorted(self.required_tables))} there", "")

    @abstractmethod
    def splits(self, snapshot: Snapshot, settings: Settings) -> DataSplits:
        """Fit, validation and holdout data of a snapshot; ``vetrina.data.splits`` has the usual ways to split."""

    # Training

    @abstractmethod
    def models_for(self, training_data: TrainingData) -> tuple[str, ...]:
        """The models of the recipe that this data supports."""

    def added_models(self, settings: Settings) -> tuple[str, ...]:
        """Further models that a shop's settings ask for."""
        return ()

    def external_model(self, settings: Settings) -> str:
        """File of a model that the shop trained itself, from the shop's folder on; empty for none."""
        return ""

    @abstractmethod
    def prepare(self, training_data: TrainingData, into: Path) -> TrainingData:
        """Write what serving needs beside the models.

        Args:
            training_data: Data of one split.
            into: The bundle's folder.

        Returns:
            The data as the models are trained on it.
        """

    @abstractmethod
    def default_weights(self, models: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Weights of the blends where there is no validation data."""

    @abstractmethod
    def tune(
        self, folder: Path, evaluation_data: EvaluationData, plan: TrainingPlan, progress: Progress
    ) -> TuningResult:
        """Choose weights and whatever else validation data decides.

        Args:
            folder: Folder with the trained models.
            evaluation_data: Validation data.
            plan: Its seed, threads and goal.
            progress: Where progress is reported.

        Returns:
            Weights of the blends, options that ``load`` reads, and a report for people.
        """

    def quick_options(self, training_data: TrainingData, since: float) -> dict[str, Any]:
        """The options of serving for the quick recipe.

        Args:
            training_data: Data that the quick recipe is trained on.
            since: Start of the validation period, in seconds since 1970.
        """
        return {}

    # Evaluation

    @abstractmethod
    def evaluate(self, folder: Path, evaluation_data: EvaluationData, *, only_model: str | None = None) -> MetricValues:
        """The recipe's metric, one value for each user, query or row; no value where nothing is labelled.

        Args:
            folder: A bundle's folder.
            evaluation_data: Validation data or holdout.
            only_model: Evaluate this model alone.
        """

    def evaluate_trial(self, folder: Path, evaluation_data: EvaluationData, model: str, max_units: int) -> MetricValues:
        """The metric by which a search compares hyper-parameters of one model.

        Args:
            folder: Folder with the model.
            evaluation_data: Validation data.
            model: The model.
            max_units: At most so many units need be evaluated.
        """
        return self.evaluate(folder, evaluation_data, only_model=model)

    def further_metrics(self, folder: Path, evaluation_data: EvaluationData) -> Sequence[MetricValues]:
        """Metrics for the report beside the recipe's own."""
        return ()

    def list_metrics(self, folder: Path) -> BeyondAccuracyMetrics | None:
        """Metrics of whole rankings, which need no labels; None where the scenario has none."""
        return None

    @abstractmethod
    def sample_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """Requests like those of the evaluation, as JSON values, to compare two files without labels.

        Args:
            folder: A bundle's folder, which suggests the requests: its users, words of its products, rows like its own.
            max_requests: At most so many.
        """

    def sample_unlabelled_requests(self, folder: Path, max_requests: int) -> Sequence[Any]:
        """Requests of other kinds than those of the evaluation; none unless a scenario has such.

        Args:
            folder: A bundle's folder.
            max_requests: At most so many.
        """
        return ()

    @abstractmethod
    def answer_requests(self, folder: Path, requests: Sequence[Any]) -> ScoredAnswers:
        """For each sample request the answer, as scores by name, best first."""

    def component_scores(
        self,
        folder: Path,
        models: Collection[str],
        evaluation_data: EvaluationData | None,
        max_requests: int,
        scratch: Path,
    ) -> ComponentScores | None:
        """What each model says of sampled requests, so that compression judges a variant without asking all models again.

        Args:
            folder: Folder with the float models.
            models: Models that may be exchanged.
            evaluation_data: Validation data; None where nothing is labelled.
            max_requests: At most so many sample requests.
            scratch: Folder for the scores.

        Returns:
            None where each variant is judged by all models.
        """
        return None

    # Serving

    @abstractmethod
    def load(self, folder: Path) -> LoadedBundle:
        """A bundle opened for serving, without a training library."""


class RankingScenario(Scenario):
    """A scenario that answers with ranked products, so that candidates can be tested on users.

    Attributes:
        ranks_whole_catalogue: Whether every product may be in an answer, not only a few such as those with ads.
        has_business_goals: Whether answers are re-ranked by the shop's business goals (``[goals]``).
        charges_clicks: Whether clicks on its answers are paid for, so that an answer depends on the spend ledger.
        body: Body of the HTTP request.
    """

    ranks_whole_catalogue: ClassVar[bool] = True
    has_business_goals: ClassVar[bool] = False
    charges_clicks: ClassVar[bool] = False
    body: ClassVar[type[RankingBody]] = RankingBody

    @abstractmethod
    def load(self, folder: Path) -> RankingBundle: ...

    def evaluate_goals(
        self, folder: Path, evaluation_data: EvaluationData, goals: Mapping[str, float], goal: str
    ) -> GoalEffect:
        """What re-ranking by business goals costs and gains; for scenarios with ``has_business_goals``.

        Args:
            folder: A bundle's folder.
            evaluation_data: Holdout.
            goals: Weights of all goals.
            goal: Goal whose business value is measured.

        Raises:
            BadInput: No product's value is known for the goal, or there are no goals.
        """
        raise BadInput(self.name, "has no business goals", "name another scenario")


class AudienceScenario(Scenario):
    """A scenario that answers with users. The shop requests them: no customer waits, and no users are split for a test."""

    @abstractmethod
    def load(self, folder: Path) -> AudienceBundle: ...

    def reach_curve(self, folder: Path, evaluation_data: EvaluationData) -> list[ReachPoint]:
        """Reach and precision by size of the audience; empty where they cannot be measured."""
        return []


class PredictionScenario(Scenario):
    """A scenario that answers each row with a prediction. No answer is shown to users, so that none are split for a test."""

    @abstractmethod
    def load(self, folder: Path) -> PredictionBundle: ...


# Discovery


def scenario_names() -> list[str]:
    """Names of all scenarios, sorted: the folders of ``vetrina.scenarios``."""
    return sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__) if module.ispkg)


def find_scenario(name: str) -> Scenario:
    """The scenario of a name. Raises BadInput for an unknown one; the message lists all."""
    known_names = scenario_names()
    if name not in known_names:
        raise BadInput(name, "is not one of the scenarios", f"known: {', '.join(known_names)}")
    return importlib.import_module(f"{scenarios.__name__}.{name}.scenario").SCENARIO


def charging_scenarios() -> frozenset[str]:
    """Names of the scenarios on whose answers clicks are paid for."""
    charging = set()
    for name in scenario_names():
        scenario = find_scenario(name)
        if isinstance(scenario, RankingScenario) and scenario.charges_clicks:
            charging.add(name)
    return frozenset(charging)


def find_ranking_scenario(name: str) -> RankingScenario:
    """The scenario of a name. Raises BadInput for an unknown one, or one that does not answer with products."""
    scenario = find_scenario(name)
    if not isinstance(scenario, RankingScenario):
        raise BadInput(name, "does not answer with products", "name a scenario that does")
    return scenario
