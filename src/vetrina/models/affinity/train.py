"""No training: the affinity features hold the counts."""

from pathlib import Path

from vetrina.core.progress import Progress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes and reports nothing; the parameters are those of every model and not used."""
    return TrainNotes()
