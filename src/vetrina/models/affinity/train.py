"""No training: the affinity features hold the counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes nothing and returns no notes; the parameters are those of every model and not used."""
    return {}
