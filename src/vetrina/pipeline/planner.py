"""Turns a budget of wall time into epochs, and leaves out what it cannot pay for, before anything starts.

seconds of an epoch = PER_LINE * lines + PER_WEIGHT * batches * products * width, both measured with two threads on logs of 131
thousand, 885 thousand and 1.3 million lines. The plan and not the clock decides, so that it can be replayed.
"""

from dataclasses import replace

import numpy as np

from vetrina.core.types import Past, Plan, Recipe

PER_LINE, PER_WEIGHT = 7.0e-6, 5.2e-9
# A run fits three times and spends the rest on counting, tuning, compression and the gate.
SHARE_OF_A_FIT = 0.12
_BATCH, _WIDTH, _FEWEST, _MOST, _POSITIONS = 1_500, 64, 2, 16, 5.5e6
_NETWORKS = {"sasrec": 1.0, "gru": 0.8, "lstm": 0.9}  # best first, and what an epoch costs beside the first


def planned(recipe: Recipe, past: Past, plan: Plan) -> Plan:
    """``plan`` with epochs for every network that its budget pays for, and ``without`` those it does not pay for."""
    wanted = [n for n in _NETWORKS if n in recipe.models]
    events = past.interactions
    if events is None or not len(events) or not wanted:
        return plan
    asked = max(1, events.moments - len(np.unique(events.user)))
    products = len(np.unique(events.item))
    epoch = (PER_LINE * len(events) + PER_WEIGHT * asked / _BATCH * products * _WIDTH) * 2 / plan.threads
    enough = int(np.clip(_POSITIONS / asked, 6, _MOST))
    left, settings, without = SHARE_OF_A_FIT * plan.budget_seconds, dict(plan.settings), []
    for name in wanted:
        cost = epoch * _NETWORKS[name]
        epochs = min(enough, int(left / max(cost, 1e-9)))
        if epochs < (_FEWEST if name == wanted[0] else enough):
            without.append(name)
            continue
        settings[name] = {"epochs": float(epochs), **settings.get(name, {})}
        left -= epochs * cost
    return replace(plan, settings=settings, without=tuple(without))


def said(plan: Plan) -> str:
    """One line for whoever waits."""
    paid = {name: int(chosen["epochs"]) for name, chosen in plan.settings.items() if "epochs" in chosen}
    epochs = ", ".join(f"{name} {count} epochs" for name, count in paid.items()) or "no networks"
    left_out = f"; left out: {', '.join(plan.without)}" if plan.without else ""
    return f"plan for {plan.budget_seconds / 60:.0f} minutes: {epochs}{left_out}"
