"""No training: histories hold the last items and their times."""

from pathlib import Path

import numpy as np

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan, TrainNotes


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes the number of products, all that scoring needs besides the history.

    Args:
        training_data: Needs the catalogue.
        plan: Not used.
        into: The output folder.
        progress: Not used.

    Returns:
        Nothing to report.
    """
    if training_data.catalogue is None:
        raise ValueError("lately needs a catalogue")
    np.save(into / "items.npy", np.array(len(training_data.catalogue)))
    return TrainNotes()
