"""Turns a budget of wall time into epochs and trials, and leaves out what it cannot pay for, before anything starts.

seconds of an epoch = PER_LINE * lines + PER_WEIGHT * batches * products * width, both measured with two threads on logs of 131
thousand, 885 thousand and 1.3 million lines. The plan and not the clock decides, so that it can be replayed.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vetrina.core.types import Interactions, Past, Plan, Recipe

PER_LINE, PER_WEIGHT = 7.0e-6, 5.2e-9
# A run fits three times and spends the rest on counting, tuning, compression and the gate.
SHARE_OF_A_FIT = 0.12
SHARE_OF_TRIALS = 0.12
# Of a trial: to count a line, to ask a model of one product for one user, to invert a cube of products.
PER_COUNT, PER_ASKED, PER_CUBE = 1.4e-5, 2.5e-8, 1.5e-11
PER_ANSWERED, SHARE_OF_FORMS = 3.6e-8, 0.08  # of an answer's product; of the whole run, for small forms
PER_QUERY = 1.0e-2  # of the encoder of queries, an epoch
PER_LIST = 3.0e-1  # of its teacher, an epoch: the eight texts that it reads beside a query
PER_PICTURE, SHARE_OF_PICTURES = 2.0e-2, 0.4  # seconds of a picture, an epoch; of the whole run
_PICTURE_EPOCHS, _STUDENT_EPOCHS, _MOST_SHOWN = 7, 8, 20_000
_LEAST_UNITS, _ASKED, _LEAST_TRIALS, _MOST_TRIALS, _MOST_INVERTED = 1_000, 1_500, 8, 40, 6_000
_LEAST_OWN, _MADE, _MOST_TAUGHT, _MOST_BY_TEACHER = 200, 4_000, 4, 2
_BATCH, _WIDTH, _FEWEST, _MOST, _POSITIONS = 1_500, 64, 2, 16, 5.5e6
_NETWORKS = {"sasrec": 1.0, "gru": 0.8, "lstm": 0.9}  # best first, and what an epoch costs beside the first


def planned(recipe: Recipe, past: Past, plan: Plan, units: int = 0) -> Plan:
    """``plan`` with what its budget pays for: epochs for networks, ``without`` those it does not pay for, and trials.

    Trials are judged on ``units`` users of validation; too few cannot tell settings apart.
    """
    plan = _shown(recipe, past, _taught(recipe, past, plan))
    events = past.interactions
    if events is None or not len(events):
        return plan
    asked = max(1, events.moments - len(np.unique(events.user)))
    products = len(np.unique(events.item))
    epoch = (PER_LINE * len(events) + PER_WEIGHT * asked / _BATCH * products * _WIDTH) * 2 / plan.threads
    enough = int(np.clip(_POSITIONS / asked, 6, _MOST))
    left, settings, without = SHARE_OF_A_FIT * plan.budget_seconds, dict(plan.settings), [*plan.without]
    wanted = [n for n in _NETWORKS if n in recipe.models and n not in without]
    for name in wanted:
        cost = epoch * _NETWORKS[name]
        epochs = min(enough, int(left / max(cost, 1e-9)))
        if epochs < (_FEWEST if name == wanted[0] else enough):
            without.append(name)
            continue
        settings[name] = {"epochs": float(epochs), **settings.get(name, {})}
        left -= epochs * cost
    costs = {name: enough * epoch * _NETWORKS[name] for name in wanted if name not in without}
    seconds = SHARE_OF_TRIALS * plan.budget_seconds if units >= _LEAST_UNITS else 0.0
    trials = dict(_trials(seconds, _counting(recipe, past, events) | costs))
    answer = PER_ANSWERED * (len(past.catalogue) if past.catalogue is not None else 0)
    answers = min(plan.answers, int(SHARE_OF_FORMS * plan.budget_seconds / max(1e-9, answer)))
    return replace(plan, settings=settings, without=tuple(without), trials=trials, answers=answers)


def _taught(recipe: Recipe, past: Past, plan: Plan) -> Plan:
    """Epochs for the encoder of queries. Made queries say so little that they must cost next to nothing of the budget."""
    if "text" not in recipe.models or past.catalogue is None:
        return plan
    own = len(past.judgments.by_query()) if past.judgments else 0
    left = SHARE_OF_A_FIT * plan.budget_seconds * plan.threads / 2
    if own < _LEAST_OWN:
        wanted = {"epochs": 1.0} if left >= 10 * PER_QUERY * _MADE else {}
    else:
        epochs = min(_MOST_TAUGHT, int(left / (PER_QUERY * own)))
        # A teacher reads its lists once more, to tell what it learnt.
        told = min(_MOST_BY_TEACHER, int((left - epochs * PER_QUERY * own) / (PER_LIST * own)) - 1)
        wanted = {"epochs": float(epochs)} | ({"teacher": float(told)} if told > 0 else {}) if epochs else {}
    chosen = {**wanted, **plan.settings.get("text", {})}
    return replace(plan, settings={**plan.settings, "text": chosen}) if wanted else plan


def _shown(recipe: Recipe, past: Past, plan: Plan) -> Plan:
    """Epochs for the network on pictures, as many as it takes or none: with fewer ImageNet's weights serve better as they are.

    Then those of a smaller network that learns from it.
    """
    pictures = sum(map(bool, past.catalogue.images)) if past.catalogue is not None else 0
    if "image" not in recipe.models or not pictures:
        return plan
    each = PER_PICTURE * min(pictures, _MOST_SHOWN) * 2 / plan.threads
    # Pictures are looked at once in a run, not once in each of its fits.
    paid = SHARE_OF_PICTURES * plan.budget_seconds / each
    epochs = float(_PICTURE_EPOCHS) if paid >= _PICTURE_EPOCHS else 0.0
    student = {"student": float(_STUDENT_EPOCHS)} if paid >= _PICTURE_EPOCHS + _STUDENT_EPOCHS else {}
    chosen = {"epochs": epochs, **student, **plan.settings.get("image", {})}
    return replace(plan, settings={**plan.settings, "image": chosen})


def _counting(recipe: Recipe, past: Past, events: Interactions) -> dict[str, float]:
    """Seconds of a trial of the models that count: what it learns, and whom it is asked for."""
    products = len(past.catalogue) if past.catalogue is not None else 0
    asking = PER_ASKED * _ASKED * products
    costs = {"item_knn": PER_COUNT * len(events) + asking}
    if products <= _MOST_INVERTED:
        costs["ease"] = PER_CUBE * products**3 + asking
    return {name: cost for name, cost in costs.items() if name in recipe.models}


def _trials(seconds: float, costs: dict[str, float]) -> Iterator[tuple[str, int]]:
    """Cheap models first; a search of fewer than _LEAST_TRIALS finds nothing that chance would not."""
    for name, cost in sorted(costs.items(), key=lambda c: c[1]):
        paid = min(_MOST_TRIALS, int(seconds / max(cost, 1e-9)))
        if paid >= _LEAST_TRIALS:
            yield name, paid
            seconds -= paid * cost


def said(plan: Plan) -> str:
    """One line for whoever waits."""
    paid = {name: int(chosen["epochs"]) for name, chosen in plan.settings.items() if "epochs" in chosen}
    epochs = ", ".join(f"{name} {count} epochs" for name, count in paid.items()) or "no networks"
    left_out = f"; left out: {', '.join(plan.without)}" if plan.without else ""
    tried = "".join(f", {count} trials of {name}" for name, count in plan.trials.items())
    return f"plan for {plan.budget_seconds / 60:.0f} minutes: {epochs}{tried}{left_out}"
