"""Chooses on validation which model tells clicks, or the mean of several, and whether what they say is calibrated."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.progress import Progress
from vetrina.core.types import Evidence, Plan
from vetrina.metrics import calibration
from vetrina.metrics.classification import calibration_error, log_loss
from vetrina.scenarios.ads.evaluate import asked
from vetrina.scenarios.ads.online import Ads


def tune(
    folder: Path, evidence: Evidence, plan: Plan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """What has the smallest log loss on validation gets the weight; a baseline that wins ships."""
    opened = Ads(folder)
    _, features, clicked, _ = asked(opened, evidence)
    if not len(clicked):
        return default_weights(opened.models), {}
    said = {name: opened.said(features, name) for name in opened.models}
    sets = [names for n in range(1, len(said) + 1) for names in combinations(opened.models, n)]
    means = {names: np.mean([said[name] for name in names], axis=0) for names in sets}
    losses = {names: float(log_loss(clicked, found).mean()) for names, found in means.items()}
    best = min(losses, key=lambda names: losses[names])
    steps = calibration.chosen(means[best], clicked, plan.seed)
    options = {"calibration": {"x": steps.x, "y": steps.y}} if steps.x else {}
    notes = {
        "validation_log_loss": {" + ".join(names): loss for names, loss in losses.items()},
        "calibration_error": calibration_error(clicked, steps.of(means[best])),
        "options": options,
    }
    return {"ads": {m: float(m in best) for m in opened.models}}, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The first of them, until a validation says otherwise."""
    return {"ads": {m: float(m == models[0]) for m in models}}
