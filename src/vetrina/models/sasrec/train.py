"""Training of SASRec by ``nn.next_item``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.models.sasrec.network import SASRecEncoder
from vetrina.nn.next_item import training

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
    hyperparameters = plan.hyperparameters_of("sasrec", HYPERPARAMETERS)
    torch.manual_seed(plan.seed)
    width = int(hyperparameters["width"])
    length = int(hyperparameters["length"])
    encoder = SASRecEncoder(width, length, hyperparameters["dropout"])
    return training.fit("sasrec", encoder, training_data, plan, hyperparameters, into, progress)
