"""Turns a budget of wall time into epochs and trials, and leaves out what it cannot pay for, before anything starts.

seconds of an epoch = PER_LINE * lines + PER_WEIGHT * batches * products * width, both measured with two threads on logs of 131
thousand, 885 thousand and 1.3 million lines. The plan and not the clock decides, so that it can be replayed.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vetrina.core.types import Interactions, Recipe, TrainingData, TrainingPlan

SECONDS_PER_EVENT = 7.0e-6
SECONDS_PER_WEIGHT = 5.2e-9
# A run fits three times and spends the rest on counting, tuning, compression and the gate.
FIT_BUDGET_SHARE = 0.12
TRIALS_BUDGET_SHARE = 0.12
# Of a trial: to count a line, to ask a model of one product for one user, to invert a cube of products.
SECONDS_PER_COUNTED_EVENT = 1.4e-5
SECONDS_PER_SCORED_PRODUCT = 2.5e-8
SECONDS_PER_CUBED_PRODUCT = 1.5e-11
SECONDS_PER_ANSWERED_PRODUCT, COMPRESSION_BUDGET_SHARE = (
    3.6e-8,
    0.08,
)  # of an answer's product; of the whole run, for small forms
SECONDS_PER_QUERY = 1.0e-2  # of the encoder of queries, an epoch
SECONDS_PER_TEACHER_LIST = 3.0e-1  # of its teacher, an epoch: the eight texts that it reads beside a query
SECONDS_PER_IMAGE, IMAGE_BUDGET_SHARE = 2.0e-2, 0.4  # seconds of a picture, an epoch; of the whole run
_IMAGE_EPOCHS = 7
_IMAGE_STUDENT_EPOCHS = 8
_MAX_TRAINING_IMAGES = 20_000
_MIN_VALIDATION_USERS = 1_000
_REQUESTS_PER_TRIAL = 1_500
_MIN_TRIALS = 8
_MAX_TRIALS = 40
_MAX_EASE_PRODUCTS = 6_000
_MIN_SHOP_QUERIES = 200
_N_SYNTHETIC_QUERIES = 4_000
_MAX_QUERY_ENCODER_EPOCHS = 4
_MAX_TEACHER_EPOCHS = 2
_BATCH_SIZE = 1_500
_NETWORK_WIDTH = 64
_MIN_EPOCHS = 2
_MAX_EPOCHS = 16
_TRAINING_POSITIONS = 5.5e6
_RELATIVE_EPOCH_COST = {"sasrec": 1.0, "gru": 0.8, "lstm": 0.9}  # best first, and what an epoch costs beside the first


def plan_training(
    recipe: Recipe, training_data: TrainingData, plan: TrainingPlan, validation_users: int = 0
) -> TrainingPlan:
    """``plan`` with what its budget pays for: epochs for networks, ``without`` those it does not pay for, and trials.

    Trials are judged on ``units`` users of validation; too few cannot tell settings apart.
    """
    plan = _plan_image_network(recipe, training_data, _plan_query_encoder(recipe, training_data, plan))
    events = training_data.interactions
    if events is None or not len(events):
        return plan
    asked = max(1, events.n_user_timestamps - len(np.unique(events.user)))
    products = len(np.unique(events.item))
    epoch = (
        (SECONDS_PER_EVENT * len(events) + SECONDS_PER_WEIGHT * asked / _BATCH_SIZE * products * _NETWORK_WIDTH)
        * 2
        / plan.threads
    )
    enough = int(np.clip(_TRAINING_POSITIONS / asked, 6, _MAX_EPOCHS))
    left = FIT_BUDGET_SHARE * plan.budget_seconds
    settings = dict(plan.settings)
    without = [*plan.without]
    wanted = [n for n in _RELATIVE_EPOCH_COST if n in recipe.models and n not in without]
    for name in wanted:
        cost = epoch * _RELATIVE_EPOCH_COST[name]
        epochs = min(enough, int(left / max(cost, 1e-9)))
        if epochs < (_MIN_EPOCHS if name == wanted[0] else enough):
            without.append(name)
            continue
        settings[name] = {"epochs": float(epochs), **settings.get(name, {})}
        left -= epochs * cost
    costs = {name: enough * epoch * _RELATIVE_EPOCH_COST[name] for name in wanted if name not in without}
    seconds = TRIALS_BUDGET_SHARE * plan.budget_seconds if validation_users >= _MIN_VALIDATION_USERS else 0.0
    trials = dict(_plan_trials(seconds, _counting_trial_costs(recipe, training_data, events) | costs))
    answer = SECONDS_PER_ANSWERED_PRODUCT * (len(training_data.catalogue) if training_data.catalogue is not None else 0)
    answers = min(plan.answers, int(COMPRESSION_BUDGET_SHARE * plan.budget_seconds / max(1e-9, answer)))
    return replace(plan, settings=settings, without=tuple(without), trials=trials, answers=answers)


def _plan_query_encoder(recipe: Recipe, training_data: TrainingData, plan: TrainingPlan) -> TrainingPlan:
    """Epochs for the encoder of queries. Made queries say so little that they must cost next to nothing of the budget."""
    if "text" not in recipe.models or training_data.catalogue is None:
        return plan
    own = len(training_data.judgments.by_query()) if training_data.judgments else 0
    left = FIT_BUDGET_SHARE * plan.budget_seconds * plan.threads / 2
    if own < _MIN_SHOP_QUERIES:
        wanted = {"epochs": 1.0} if left >= 10 * SECONDS_PER_QUERY * _N_SYNTHETIC_QUERIES else {}
    else:
        epochs = min(_MAX_QUERY_ENCODER_EPOCHS, int(left / (SECONDS_PER_QUERY * own)))
        # A teacher reads its lists once more, to tell what it learnt.
        told = min(
            _MAX_TEACHER_EPOCHS, int((left - epochs * SECONDS_PER_QUERY * own) / (SECONDS_PER_TEACHER_LIST * own)) - 1
        )
        wanted = {"epochs": float(epochs)} | ({"teacher": float(told)} if told > 0 else {}) if epochs else {}
    chosen = {**wanted, **plan.settings.get("text", {})}
    return replace(plan, settings={**plan.settings, "text": chosen}) if wanted else plan


def _plan_image_network(recipe: Recipe, training_data: TrainingData, plan: TrainingPlan) -> TrainingPlan:
    """Epochs for the network on pictures, as many as it takes or none: with fewer ImageNet's weights serve better as they are.

    Then those of a smaller network that learns from it.
    """
    pictures = sum(map(bool, training_data.catalogue.images)) if training_data.catalogue is not None else 0
    if "image" not in recipe.models or not pictures:
        return plan
    each = SECONDS_PER_IMAGE * min(pictures, _MAX_TRAINING_IMAGES) * 2 / plan.threads
    # Pictures are looked at once in a run, not once in each of its fits.
    paid = IMAGE_BUDGET_SHARE * plan.budget_seconds / each
    epochs = float(_IMAGE_EPOCHS) if paid >= _IMAGE_EPOCHS else 0.0
    student = {"student": float(_IMAGE_STUDENT_EPOCHS)} if paid >= _IMAGE_EPOCHS + _IMAGE_STUDENT_EPOCHS else {}
    chosen = {"epochs": epochs, **student, **plan.settings.get("image", {})}
    return replace(plan, settings={**plan.settings, "image": chosen})


def _counting_trial_costs(recipe: Recipe, training_data: TrainingData, events: Interactions) -> dict[str, float]:
    """Seconds of a trial of the models that count: what it learns, and whom it is asked for."""
    products = len(training_data.catalogue) if training_data.catalogue is not None else 0
    asking = SECONDS_PER_SCORED_PRODUCT * _REQUESTS_PER_TRIAL * products
    costs = {"item_knn": SECONDS_PER_COUNTED_EVENT * len(events) + asking}
    if products <= _MAX_EASE_PRODUCTS:
        costs["ease"] = SECONDS_PER_CUBED_PRODUCT * products**3 + asking
    return {name: cost for name, cost in costs.items() if name in recipe.models}


def _plan_trials(seconds: float, costs: dict[str, float]) -> Iterator[tuple[str, int]]:
    """Cheap models first; a search of fewer than _LEAST_TRIALS finds nothing that chance would not."""
    for name, cost in sorted(costs.items(), key=lambda c: c[1]):
        paid = min(_MAX_TRIALS, int(seconds / max(cost, 1e-9)))
        if paid >= _MIN_TRIALS:
            yield name, paid
            seconds -= paid * cost


def plan_text(plan: TrainingPlan) -> str:
    """One line for whoever waits."""
    paid = {name: int(chosen["epochs"]) for name, chosen in plan.settings.items() if "epochs" in chosen}
    epochs = ", ".join(f"{name} {count} epochs" for name, count in paid.items()) or "no networks"
    left_out = f"; left out: {', '.join(plan.without)}" if plan.without else ""
    tried = "".join(f", {count} trials of {name}" for name, count in plan.trials.items())
    return f"plan for {plan.budget_seconds / 60:.0f} minutes: {epochs}{tried}{left_out}"
