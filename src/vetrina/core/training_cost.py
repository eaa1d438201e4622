"""Cost of a model's training, by the size of its data.

Each model declares its own in its folder. The budget planner decides what a budget pays for, and knows no model by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

REFERENCE_THREADS = 2  # with which costs are measured
SECONDS_PER_SCORED_PRODUCT = 2.5e-8  # of a trial: one product scored for one user
REQUESTS_PER_TRIAL = 1_500  # users that a trial is evaluated on


@dataclass(frozen=True)
class Workload:
    """What the cost of a fit depends on.

    Attributes:
        threads: Threads that a fit may use.
        products: Products of the catalogue.
        images: Products of the catalogue with an image.
        judged_queries: Queries with judgments.
        events: Events of the log.
        event_products: Products with events.
        predicted_positions: Moments of users before which they have events, which a sequence model learns to predict.
        cells: Rows times encoded columns of a labelled table.
    """

    threads: int = REFERENCE_THREADS
    products: int = 0
    images: int = 0
    judged_queries: int = 0
    events: int = 0
    event_products: int = 0
    predicted_positions: int = 0
    cells: int = 0

    @property
    def scoring_seconds(self) -> float:
        """Seconds of a trial for scoring the catalogue for its users, by any model that scores all products."""
        return SECONDS_PER_SCORED_PRODUCT * REQUESTS_PER_TRIAL * self.products


@dataclass(frozen=True)
class BudgetShare:
    """A part of a run's budget. Models that name the same one spend it together, in the order of the recipe.

    Attributes:
        purpose: What it is spent on.
        of_budget: Share of the budget of a run, 0 to 1.
    """

    purpose: str
    of_budget: float


@dataclass(frozen=True)
class EpochPlan:
    """What a budget pays for of one model's training.

    Attributes:
        hyperparameters: Numbers of epochs, by the hyper-parameter's name; those that the settings fix stay.
        seconds: What it costs, with the threads of the workload.
        is_left_out: Whether the model is not trained at all.
    """

    hyperparameters: Mapping[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0
    is_left_out: bool = False


class ModelCost:
    """Cost of a model. As it stands, that of one that is so cheap that nothing has to be planned.

    Attributes:
        share: What ``plan_epochs`` may spend; None for a model without epochs to plan.
        is_used_by_others: Whether other models are made of it, so that it is planned even where it is left out itself.
    """

    share: BudgetShare | None = None
    is_used_by_others: bool = False

    def fit_seconds(self, workload: Workload) -> float:
        """Seconds of a fit on a labelled table, whatever the threads; 0 for models of other data."""
        return 0.0

    def trial_seconds(self, workload: Workload) -> float | None:
        """Seconds of a trial of hyper-parameters, with the threads of the workload; None where the model is not searched."""
        return None

    def plan_epochs(self, workload: Workload, seconds: float, is_first: bool) -> EpochPlan:
        """What some seconds pay for.

        Args:
            workload: Size of the data, and threads.
            seconds: What is left of the share, with the threads of the workload.
            is_first: Whether it is the first model of its share, which recipes list before less good ones.
        """
        return EpochPlan()


class TableFitCost(ModelCost):
    """Cost of a model of a labelled table, in seconds of one thread.

    Args:
        fixed_seconds: Seconds of any fit.
        seconds_per_cell: Seconds for each row and encoded column.
    """

    def __init__(self, fixed_seconds: float, seconds_per_cell: float) -> None:
        self._fixed_seconds = fixed_seconds
        self._seconds_per_cell = seconds_per_cell

    def fit_seconds(self, workload: Workload) -> float:
        """Seconds of a fit."""
        return self._fixed_seconds + self._seconds_per_cell * workload.cells


class SearchedTableFitCost(TableFitCost):
    """Cost of a model of a labelled table whose hyper-parameters are searched: a trial fits it once in each fold."""

    def trial_seconds(self, workload: Workload) -> float | None:
        """Seconds of a trial in one fold; None for data that are no table."""
        if not workload.cells:
            return None
        return self.fit_seconds(workload)
