"""Fits a recurrent network by ``layers.next_item``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers.next_item import recurrent, training

SETTINGS = training.HYPERPARAMETERS
SPACE = training.SEARCH_SPACE


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes what ``retrieval.sequence_scorer`` opens."""
    return recurrent.fit("lstm", "LSTM", training_data, plan, into, progress)
