"""Budget planner: epochs, trials, folds and models that fit the time budget of a run, decided before anything starts.

Seconds of an epoch of a sequence network = ``SECONDS_PER_EVENT`` * events + ``SECONDS_PER_WEIGHT`` * batches * products * width,
both measured with two threads on logs of 131 thousand, 885 thousand and 1.3 million events. Seconds of a fit of a model of a
table: ``TABLE_FIT_COSTS``, measured with one thread on 576 rows of 6 encoded columns, 768 of 172 and 5,120 of 733. The plan and
not the clock decides, so that it can be replayed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import Interactions, Recipe, TrainingData, TrainingPlan
from vetrina.data.table_folds import MAX_FOLDS
from vetrina.features.table_encoding import TableEncoding

# Costs, measured with two threads
SECONDS_PER_EVENT = 7.0e-6  # of a sequence network, an epoch
SECONDS_PER_WEIGHT = 5.2e-9  # of a sequence network's output layer, a batch
SECONDS_PER_COUNTED_EVENT = 1.4e-5  # of a trial of a counting model
SECONDS_PER_SCORED_PRODUCT = 2.5e-8  # of a trial: one product scored for one user
SECONDS_PER_CUBED_PRODUCT = 1.5e-11  # of a trial of EASE: inverts a matrix of products by products
SECONDS_PER_ANSWERED_PRODUCT = 3.6e-8  # of one answer of the blend, for each product of the catalogue
SECONDS_PER_QUERY = 1.0e-2  # of the query encoder, an epoch
SECONDS_PER_TEACHER_LIST = 3.0e-1  # of the query encoder's teacher, an epoch: it reads eight texts beside each query
SECONDS_PER_IMAGE = 2.0e-2  # of the image network, an epoch
_REFERENCE_THREADS = 2
_MIN_COST_SECONDS = 1e-9  # avoids a division by zero

# Shares of the budget of a run. It fits three times, and spends the rest on counting, tuning, compression and the gate.
SEQUENCE_BUDGET_SHARE = 0.2  # sequence networks of the first fit; the others continue it and take a quarter
FIT_BUDGET_SHARE = 0.12  # query encoder of one fit
TRIALS_BUDGET_SHARE = 0.12  # hyper-parameter search
TABLE_BUDGET_SHARE = 0.8  # all fits of a table's models
COMPRESSION_BUDGET_SHARE = 0.08  # answers that judge compression variants
IMAGE_BUDGET_SHARE = 0.4  # image network

_IMAGE_EPOCHS = 7
_IMAGE_STUDENT_EPOCHS = 8
_MAX_TRAINING_IMAGES = 20_000
_MIN_VALIDATION_USERS = 1_000  # fewer cannot tell hyper-parameters apart
_REQUESTS_PER_TRIAL = 1_500
_MIN_TRIALS = 8  # fewer find nothing that chance would not
_MAX_TRIALS = 40
_MAX_EASE_PRODUCTS = 6_000
_MIN_ROWS_FOR_TRIALS = 2_000  # fewer cannot tell hyper-parameters apart
_N_TABLE_FITS = 2.5  # of all models, whatever the plan: before validation, before the gate, and a distillation
_MAX_FOLDS_SHARE = 0.5  # of what these fits leave; trials get the rest
_FEW_LABELS = 10  # of more different numbers a fold has enough
_MIN_ROWS_PER_LABEL = 20  # with fewer of one of few labels a fold may lack it
_MAX_FOLD_CELLS = 200_000_000  # rows times encoded columns of all folds, which are held in memory as float32
_MIN_SHOP_QUERIES = 200  # with fewer judged queries the encoder is trained on synthetic ones
_N_SYNTHETIC_QUERIES = 4_000
_MIN_BUDGET_PER_SYNTHETIC_EPOCH = 10  # times its cost: synthetic queries help little, so they must be cheap
_MAX_QUERY_ENCODER_EPOCHS = 4
_MAX_TEACHER_EPOCHS = 2
_BATCH_SIZE = 1_500  # positions of a sequence network's batch
_NETWORK_WIDTH = 64
_MIN_EPOCHS = 2  # of the first sequence network
_MIN_FULL_EPOCHS = 6  # on however many events
_MAX_EPOCHS = 16
_TRAINING_POSITIONS = 5.5e6  # that a sequence network needs to see in all of its epochs
_RELATIVE_EPOCH_COST = {
    "sasrec": 1.0,
    "gru": 0.8,
    "lstm": 0.9,
}  # best model first; cost of an epoch relative to the first


@dataclass(frozen=True)
class TableFitCost:
    """Seconds of a fit of a model of a table: ``fixed_seconds`` + ``seconds_per_cell`` * rows * encoded columns."""

    fixed_seconds: float
    seconds_per_cell: float

    def seconds(self, cells: int) -> float:
        """Seconds of a fit for rows times encoded columns."""
        return self.fixed_seconds + self.seconds_per_cell * cells


TABLE_FIT_COSTS = {
    "mlp": TableFitCost(1.5, 1.2e-6),
    "dcn": TableFitCost(1.5, 1.0e-6),
    "boosted": TableFitCost(0.3, 2.7e-7),
    "tree": TableFitCost(0.03, 3.3e-7),
    "logistic": TableFitCost(0.01, 6.6e-7),
    "ridge": TableFitCost(0.01, 2.0e-7),
}


@dataclass(frozen=True)
class _NetworkPlan:
    """Hyper-parameters of all models, the names of those left out, and the seconds of a full training of each network."""

    settings: Mapping[str, Mapping[str, float]]
    without: tuple[str, ...]
    costs: Mapping[str, float]


def plan_training(
    recipe: Recipe, training_data: TrainingData, plan: TrainingPlan, validation_users: int = 0
) -> TrainingPlan:
    """The plan with what its budget pays for: epochs of networks, networks to leave out, and trials.

    Args:
        recipe: Models of the scenario.
        training_data: Data of the fit, whose size decides the costs.
        plan: Budget, threads, and hyper-parameters that the settings fix.
        validation_users: Number of users that trials are evaluated on.
    """
    if training_data.table is not None:
        return _plan_table(recipe, training_data.table, plan)
    plan = _plan_query_encoder(recipe, training_data, plan)
    plan = _plan_image_network(recipe, training_data, plan)
    events = training_data.interactions
    if events is None or not len(events):
        return plan
    networks = _plan_sequence_networks(recipe, events, plan)
    trial_seconds = 0.0
    if validation_users >= _MIN_VALIDATION_USERS:
        trial_seconds = TRIALS_BUDGET_SHARE * plan.budget_seconds
    trial_costs = {**_counting_trial_costs(recipe, training_data, events), **networks.costs}
    return replace(
        plan,
        settings=networks.settings,
        without=networks.without,
        trials=_plan_trials(trial_seconds, trial_costs),
        answers=_plan_answers(training_data, plan),
    )


def plan_text(plan: TrainingPlan) -> str:
    """The plan in one line, for progress messages."""
    parts = []
    for name, hyperparameters in plan.settings.items():
        if "epochs" in hyperparameters:
            parts.append(f"{name} {int(hyperparameters['epochs'])} epochs")
    if plan.folds:
        parts.append(f"a table in {plan.folds} folds")
    text = f"plan for {plan.budget_seconds / 60:.0f} minutes: "
    text += ", ".join(parts) or "no networks"
    for name, count in plan.trials.items():
        text += f", {count} trials of {name}"
    if plan.without:
        text += f"; left out: {', '.join(plan.without)}"
    return text


def _plan_table(recipe: Recipe, table: LabelledTable, plan: TrainingPlan) -> TrainingPlan:
    """Folds whose rows are predicted by models that were trained without them, and trials of boosted trees on them."""
    columns = len(TableEncoding.fit(table).encoded_columns())
    cells = len(table) * columns
    costs = {}
    for name, cost in TABLE_FIT_COSTS.items():
        if name in recipe.models and name not in plan.without:
            costs[name] = cost.seconds(cells)
    fold_seconds = max(sum(costs.values()), _MIN_COST_SECONDS)
    seconds_left = max(0.0, TABLE_BUDGET_SHARE * plan.budget_seconds - _N_TABLE_FITS * fold_seconds)
    affordable_folds = 1 + int(_MAX_FOLDS_SHARE * seconds_left / fold_seconds)
    folds = min(_max_folds(table, cells), affordable_folds)
    seconds_left -= (folds - 1) * fold_seconds
    trial_costs = {}
    if "boosted" in costs and len(table) >= _MIN_ROWS_FOR_TRIALS:
        trial_costs["boosted"] = folds * costs["boosted"]
    return replace(plan, folds=folds, trials=_plan_trials(seconds_left, trial_costs))


def _max_folds(table: LabelledTable, cells: int) -> int:
    """Largest number of folds of a table with so many rows times encoded columns.

    At least one: the validation rows, which models that are fitted anyway predict.
    """
    labels, rows_per_label = np.unique(table.label, return_counts=True)
    if len(labels) <= _FEW_LABELS and rows_per_label.min() < _MIN_ROWS_PER_LABEL:
        return 1
    return max(1, min(MAX_FOLDS, _MAX_FOLD_CELLS // max(1, cells)))


def _plan_sequence_networks(recipe: Recipe, events: Interactions, plan: TrainingPlan) -> _NetworkPlan:
    """Epochs of the sequence networks, best first: what the budget pays for of the first; the others are trained fully or not."""
    positions = max(1, events.n_user_timestamps - len(np.unique(events.user)))
    products = len(np.unique(events.item))
    event_seconds = SECONDS_PER_EVENT * len(events)
    weight_seconds = SECONDS_PER_WEIGHT * positions / _BATCH_SIZE * products * _NETWORK_WIDTH
    epoch_seconds = (event_seconds + weight_seconds) * _REFERENCE_THREADS / plan.threads
    full_epochs = int(np.clip(_TRAINING_POSITIONS / positions, _MIN_FULL_EPOCHS, _MAX_EPOCHS))

    seconds_left = SEQUENCE_BUDGET_SHARE * plan.budget_seconds
    settings = dict(plan.settings)
    without = list(plan.without)
    costs = {}
    networks = [name for name in _RELATIVE_EPOCH_COST if name in recipe.models and name not in without]
    for number, name in enumerate(networks):
        cost = epoch_seconds * _RELATIVE_EPOCH_COST[name]
        affordable_epochs = int(seconds_left / max(cost, _MIN_COST_SECONDS))
        epochs = min(full_epochs, affordable_epochs)
        min_epochs = full_epochs
        if number == 0:
            min_epochs = _MIN_EPOCHS
        if epochs < min_epochs:
            without.append(name)
            continue
        settings[name] = {"epochs": float(epochs), **settings.get(name, {})}
        seconds_left -= epochs * cost
        costs[name] = full_epochs * epoch_seconds * _RELATIVE_EPOCH_COST[name]
    return _NetworkPlan(settings, tuple(without), costs)


def _plan_query_encoder(recipe: Recipe, training_data: TrainingData, plan: TrainingPlan) -> TrainingPlan:
    """Epochs of the query encoder and, on the shop's own judged queries, of its teacher."""
    if "text" not in recipe.models or training_data.catalogue is None:
        return plan
    n_queries = 0
    if training_data.judgments is not None:
        n_queries = len(training_data.judgments.by_query())
    budget_seconds = FIT_BUDGET_SHARE * plan.budget_seconds * plan.threads / _REFERENCE_THREADS
    planned: dict[str, float] = {}
    if n_queries >= _MIN_SHOP_QUERIES:
        planned = _query_encoder_epochs(n_queries, budget_seconds)
    elif budget_seconds >= _MIN_BUDGET_PER_SYNTHETIC_EPOCH * SECONDS_PER_QUERY * _N_SYNTHETIC_QUERIES:
        planned = {"epochs": 1.0}
    if not planned:
        return plan
    return _with_hyperparameters(plan, "text", planned)


def _query_encoder_epochs(n_queries: int, budget_seconds: float) -> dict[str, float]:
    """``epochs`` of the encoder, and of its ``teacher`` where the budget pays for it; nothing where it pays for neither."""
    epochs = min(_MAX_QUERY_ENCODER_EPOCHS, int(budget_seconds / (SECONDS_PER_QUERY * n_queries)))
    if not epochs:
        return {}
    planned = {"epochs": float(epochs)}
    seconds_left = budget_seconds - epochs * SECONDS_PER_QUERY * n_queries
    teacher_passes = int(seconds_left / (SECONDS_PER_TEACHER_LIST * n_queries))
    teacher_epochs = min(_MAX_TEACHER_EPOCHS, teacher_passes - 1)  # one more pass scores the lists for the encoder
    if teacher_epochs > 0:
        planned["teacher"] = float(teacher_epochs)
    return planned


def _plan_image_network(recipe: Recipe, training_data: TrainingData, plan: TrainingPlan) -> TrainingPlan:
    """Epochs of the image network, all or none: with fewer, ImageNet's weights are better unchanged. Then its student's."""
    n_images = 0
    if training_data.catalogue is not None:
        n_images = sum(map(bool, training_data.catalogue.images))
    if "image" not in recipe.models or not n_images:
        return plan
    epoch_seconds = SECONDS_PER_IMAGE * min(n_images, _MAX_TRAINING_IMAGES) * _REFERENCE_THREADS / plan.threads
    # The network is trained once in a run, not once in each of its fits.
    affordable_epochs = IMAGE_BUDGET_SHARE * plan.budget_seconds / epoch_seconds
    planned = {"epochs": 0.0}
    if affordable_epochs >= _IMAGE_EPOCHS:
        planned = {"epochs": float(_IMAGE_EPOCHS)}
    if affordable_epochs >= _IMAGE_EPOCHS + _IMAGE_STUDENT_EPOCHS:
        planned["student"] = float(_IMAGE_STUDENT_EPOCHS)
    return _with_hyperparameters(plan, "image", planned)


def _with_hyperparameters(plan: TrainingPlan, model: str, planned: Mapping[str, float]) -> TrainingPlan:
    """The plan with hyper-parameters of a model; those that the settings fix stay."""
    hyperparameters = {**planned, **plan.settings.get(model, {})}
    return replace(plan, settings={**plan.settings, model: hyperparameters})


def _counting_trial_costs(recipe: Recipe, training_data: TrainingData, events: Interactions) -> dict[str, float]:
    """Seconds of a trial of each counting model of the recipe: to fit it, and to score its products for the users evaluated."""
    products = 0
    if training_data.catalogue is not None:
        products = len(training_data.catalogue)
    scoring_seconds = SECONDS_PER_SCORED_PRODUCT * _REQUESTS_PER_TRIAL * products
    costs = {}
    if "item_knn" in recipe.models:
        costs["item_knn"] = SECONDS_PER_COUNTED_EVENT * len(events) + scoring_seconds
    if "ease" in recipe.models and products <= _MAX_EASE_PRODUCTS:
        costs["ease"] = SECONDS_PER_CUBED_PRODUCT * products**3 + scoring_seconds
    return costs


def _plan_trials(seconds: float, costs: Mapping[str, float]) -> dict[str, int]:
    """Number of trials by model. Cheap models come first."""
    trials = {}
    for name in sorted(costs, key=lambda name: costs[name]):
        affordable_trials = min(_MAX_TRIALS, int(seconds / max(costs[name], _MIN_COST_SECONDS)))
        if affordable_trials >= _MIN_TRIALS:
            trials[name] = affordable_trials
            seconds -= affordable_trials * costs[name]
    return trials


def _plan_answers(training_data: TrainingData, plan: TrainingPlan) -> int:
    """How many answers may judge compression variants."""
    products = 0
    if training_data.catalogue is not None:
        products = len(training_data.catalogue)
    answer_seconds = max(SECONDS_PER_ANSWERED_PRODUCT * products, _MIN_COST_SECONDS)
    return min(plan.answers, int(COMPRESSION_BUDGET_SHARE * plan.budget_seconds / answer_seconds))
