"""Training of GRU4Rec by ``nn.next_item``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.nn.next_item import recurrent, training

HYPERPARAMETERS = training.HYPERPARAMETERS
SEARCH_SPACE = training.SEARCH_SPACE


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the files of ``bundle.sequence_scorer``.

    Args:
        training_data: Needs the catalogue and interactions.
        plan: Seed, threads and hyper-parameters.
        into: The output folder.
        progress: Reports the epochs.

    Returns:
        Notes of the training.
    """
    return recurrent.fit("gru", "GRU", training_data, plan, into, progress)
