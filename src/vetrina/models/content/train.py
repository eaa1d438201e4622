"""All modalities of fusion but the id side by side, each as long as the others: behaviour has no say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Floats, TrainingData, TrainingPlan
from vetrina.models.content.online import INT8_SCALE
from vetrina.models.fusion.modalities import content_modalities, normalise_rows
from vetrina.models.fusion.train import HYPERPARAMETERS, fuse


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``vectors.npy`` (items, width) int8: unit vectors times LARGEST, their only form."""
    if training_data.catalogue is None:
        raise ValueError("content needs a catalogue")
    np.save(
        into / "vectors.npy",
        np.rint(content_vectors(training_data.catalogue, plan, into, progress) * INT8_SCALE).astype(np.int8),
    )
    return {}


def content_vectors(catalogue: Catalogue, plan: TrainingPlan, into: Path, progress: Progress) -> Floats:
    """Unit vectors (items, width) rounded as they are served, zeros for a product of which nothing is known. ``into`` is a
    model's folder in a run's."""
    parts = content_modalities(catalogue, plan, into, progress)
    whole = normalise_rows(fuse(parts, None, len(catalogue), plan.seed, HYPERPARAMETERS).vectors)
    return np.rint(whole * INT8_SCALE).astype(np.float32) / INT8_SCALE
