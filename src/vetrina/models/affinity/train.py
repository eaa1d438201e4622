"""No training: the affinity features hold the counts."""

from pathlib import Path

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan, TrainNotes


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes and reports nothing; the parameters are those of every model and not used."""
    return TrainNotes()
