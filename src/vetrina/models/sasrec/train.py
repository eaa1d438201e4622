"""Fits SASRec by ``layers.next_item``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers.next_item import training
from vetrina.models.sasrec.network import SASRecEncoder

SETTINGS = training.HYPERPARAMETERS
SPACE = training.SEARCH_SPACE


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes what ``retrieval.sequence_scorer`` opens."""
    chosen = plan.hyperparameters_of("sasrec", SETTINGS)
    torch.manual_seed(plan.seed)
    encoder = SASRecEncoder(int(chosen["width"]), int(chosen["length"]), chosen["dropout"])
    return training.fit("sasrec", encoder, training_data, plan, chosen, into, progress)
