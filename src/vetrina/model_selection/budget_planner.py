"""Budget planner: epochs, trials, folds and models that fit the time budget of a run, decided before anything starts.

What a model costs is declared by the model (``core.training_cost``); here is what a run spends its budget on. The plan and not
the clock decides, so that it can be replayed.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.training_cost import BudgetShare, ModelCost, Workload
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.data.table_folds import MAX_FOLDS
from vetrina.features.table_encoding import TableEncoding

_SECONDS_PER_ANSWERED_PRODUCT = 3.6e-8  # of one answer of the blend, for each product of the catalogue
_MIN_COST_SECONDS = 1e-9  # avoids a division by zero

# Shares of the budget of a run. It fits three times, and spends the rest on counting, tuning, compression and the gate.
_TRIALS_SHARE = 0.12  # hyper-parameter search
_TABLE_SHARE = 0.8  # all fits of a table's models
_COMPRESSION_SHARE = 0.08  # answers that judge compression variants

_MIN_VALIDATION_USERS = 1_000  # fewer cannot tell hyper-parameters apart
_MIN_ROWS_FOR_TRIALS = 2_000  # likewise
_MIN_TRIALS = 8  # fewer find nothing that chance would not
_MAX_TRIALS = 40
_N_TABLE_FITS = 2.5  # of all models, whatever the plan: before validation, before the gate, and a distillation
_MAX_FOLDS_SHARE = 0.5  # of what these fits leave; trials get the rest
_FEW_LABELS = 10  # of more different numbers a fold has enough
_MIN_ROWS_PER_LABEL = 20  # with fewer of one of few labels a fold may lack it
_MAX_FOLD_CELLS = 200_000_000  # rows times encoded columns of all folds, which are held in memory as float32


def plan_training(
    costs: Mapping[str, ModelCost], training_data: TrainingData, plan: TrainingPlan, validation_users: int = 0
) -> TrainingPlan:
    """The plan with what its budget pays for: epochs of networks, networks to leave out, folds and trials.

    Args:
        costs: Cost of each model of the recipe, in its order: of the models that share a part of the budget, the best first.
        training_data: Data of the fit, whose size decides the costs.
        plan: Budget, threads, models to leave out, and hyper-parameters that the settings fix.
        validation_users: Number of users that trials are evaluated on.
    """
    if training_data.table is not None:
        return _plan_table(costs, training_data.table, plan)
    workload = _measure(training_data, plan.threads)
    plan = _plan_epochs(costs, workload, plan)
    if not workload.events:
        return plan
    seconds = 0.0
    if validation_users >= _MIN_VALIDATION_USERS:
        seconds = _TRIALS_SHARE * plan.budget_seconds
    trial_seconds = _trial_seconds(costs, workload, plan)
    answers = _affordable_answers(workload, plan)
    return replace(plan, trials=_plan_trials(seconds, trial_seconds), answers=answers)


def plan_text(plan: TrainingPlan) -> str:
    """The plan in one line, for progress messages."""
    parts: list[str] = []
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


def _measure(training_data: TrainingData, threads: int) -> Workload:
    """The size of a catalogue, a log and judgments."""
    workload = Workload(threads)
    catalogue = training_data.catalogue
    if catalogue is not None:
        workload = replace(workload, products=len(catalogue), images=sum(map(bool, catalogue.images)))
    if training_data.judgments is not None:
        workload = replace(workload, judged_queries=len(training_data.judgments.by_query()))
    events = training_data.interactions
    if events is not None and len(events):
        workload = replace(
            workload,
            events=len(events),
            event_products=len(np.unique(events.item)),
            predicted_positions=events.n_user_timestamps - len(np.unique(events.user)),
        )
    return workload


def _plan_epochs(costs: Mapping[str, ModelCost], workload: Workload, plan: TrainingPlan) -> TrainingPlan:
    """The plan with the epochs of each model that has some; those that the budget does not pay for are left out."""
    hyperparameters = dict(plan.settings)
    left_out = list(plan.without)
    seconds_left: dict[BudgetShare, float] = {}
    for name, cost in costs.items():
        if cost.share is None:
            continue
        if name in left_out and not cost.is_used_by_others:
            continue
        is_first = cost.share not in seconds_left
        seconds = seconds_left.setdefault(cost.share, cost.share.of_budget * plan.budget_seconds)
        planned = cost.plan_epochs(workload, seconds, is_first)
        seconds_left[cost.share] = seconds - planned.seconds
        if planned.is_left_out:
            left_out.append(name)
        elif planned.hyperparameters:
            hyperparameters[name] = {**planned.hyperparameters, **hyperparameters.get(name, {})}
    return replace(plan, settings=hyperparameters, without=tuple(left_out))


def _plan_table(costs: Mapping[str, ModelCost], table: LabelledTable, plan: TrainingPlan) -> TrainingPlan:
    """Folds whose rows are predicted by models that were trained without them, and trials on them."""
    columns = len(TableEncoding.fit(table).encoded_columns())
    workload = Workload(plan.threads, cells=len(table) * columns)
    fold_seconds = 0.0
    for name, cost in costs.items():
        if name not in plan.without:
            fold_seconds += cost.fit_seconds(workload)
    fold_seconds = max(fold_seconds, _MIN_COST_SECONDS)
    seconds_left = max(0.0, _TABLE_SHARE * plan.budget_seconds - _N_TABLE_FITS * fold_seconds)
    affordable_folds = 1 + int(_MAX_FOLDS_SHARE * seconds_left / fold_seconds)
    folds = min(_max_folds(table, workload.cells), affordable_folds)
    seconds_left -= (folds - 1) * fold_seconds
    trial_seconds: dict[str, float] = {}
    if len(table) >= _MIN_ROWS_FOR_TRIALS:
        for name, seconds in _trial_seconds(costs, workload, plan).items():
            trial_seconds[name] = folds * seconds
    return replace(plan, folds=folds, trials=_plan_trials(seconds_left, trial_seconds))


def _max_folds(table: LabelledTable, cells: int) -> int:
    """Largest number of folds of a table with so many rows times encoded columns.

    At least one: the validation rows, which models that are fitted anyway predict.
    """
    labels, rows_per_label = np.unique(table.label, return_counts=True)
    if len(labels) <= _FEW_LABELS and rows_per_label.min() < _MIN_ROWS_PER_LABEL:
        return 1
    return max(1, min(MAX_FOLDS, _MAX_FOLD_CELLS // max(1, cells)))


def _trial_seconds(costs: Mapping[str, ModelCost], workload: Workload, plan: TrainingPlan) -> dict[str, float]:
    """Seconds of a trial of each model that is trained and searched."""
    trial_seconds: dict[str, float] = {}
    for name, cost in costs.items():
        seconds = cost.trial_seconds(workload)
        if seconds is not None and name not in plan.without:
            trial_seconds[name] = seconds
    return trial_seconds


def _plan_trials(seconds: float, trial_seconds: Mapping[str, float]) -> dict[str, int]:
    """Number of trials by model. Cheap models come first."""
    trials: dict[str, int] = {}
    for name in sorted(trial_seconds, key=lambda name: trial_seconds[name]):
        affordable_trials = min(_MAX_TRIALS, int(seconds / max(trial_seconds[name], _MIN_COST_SECONDS)))
        if affordable_trials >= _MIN_TRIALS:
            trials[name] = affordable_trials
            seconds -= affordable_trials * trial_seconds[name]
    return trials


def _affordable_answers(workload: Workload, plan: TrainingPlan) -> int:
    """How many answers may judge compression variants."""
    answer_seconds = max(_SECONDS_PER_ANSWERED_PRODUCT * workload.products, _MIN_COST_SECONDS)
    return min(plan.answers, int(_COMPRESSION_SHARE * plan.budget_seconds / answer_seconds))
