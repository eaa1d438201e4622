"""Chooses on validation which model answers, or the mean of several, and from which probability on the answer is yes."""

from itertools import combinations
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import Evidence, Floats, Plan
from vetrina.metrics import threshold
from vetrina.metrics.classification import log_loss
from vetrina.scenarios.predict.online import Predict, mean
from vetrina.scenarios.predict.recipe import positive

_READABLE = ("tree",)  # one tree is for people to read: it adds nothing to a mean


def tune(
    folder: Path, evidence: Evidence, plan: Plan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """What has the smallest loss on validation gets the weight: a baseline that wins ships."""
    opened, table = Predict(folder), evidence.table
    if table is None:
        raise ValueError("predict is tuned on a table")
    models = opened.models
    label = positive(table, opened.encoding.positive)
    said = opened.said(table.columns, models)
    several = [name for name in models if name not in _READABLE]
    sets = [names for n in range(1, len(several) + 1) for names in combinations(several, n)]
    asked: dict[tuple[str, ...], Floats] = {names: mean([said[name] for name in names]) for names in sets}
    asked |= {(name,): said[name] for name in models}
    losses = {names: float(log_loss(label, found).mean()) for names, found in asked.items()}
    best = min(losses, key=lambda names: losses[names])
    options = {"threshold": threshold.chosen(label, asked[best], plan.goal)}
    notes = {
        "validation_log_loss": {" + ".join(names): loss for names, loss in losses.items()},
        "goal": plan.goal,
        "options": options,
    }
    return {"predict": {m: float(m in best) for m in models}}, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The first of them, until a validation says otherwise."""
    return {"predict": {m: float(m == models[0]) for m in models}}
