"""Content vectors: all modalities of ``fusion`` but the id, concatenated with equal weights."""

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
    """Writes ``vectors.npy`` (items, width) int8: unit vectors times INT8_SCALE.

    Args:
        training_data: Needs the catalogue.
        plan: Seed, threads, text encoder.
        into: The output folder in a run's folder.
        progress: Reports the steps.

    Returns:
        No notes.
    """
    if training_data.catalogue is None:
        raise ValueError("content needs a catalogue")
    vectors = content_vectors(training_data.catalogue, plan, into, progress)
    np.save(into / "vectors.npy", np.rint(vectors * INT8_SCALE).astype(np.int8))
    return {}


def content_vectors(catalogue: Catalogue, plan: TrainingPlan, into: Path, progress: Progress) -> Floats:
    """Content vectors of all products, rounded to int8 steps as they are served.

    Args:
        catalogue: The products.
        plan: Seed, threads, text encoder.
        into: A model's folder in a run's folder; the cache lies beside it.
        progress: Reports the steps.

    Returns:
        Unit vectors (items, width) float32, zeros for a product without content.
    """
    modalities = content_modalities(catalogue, plan, into, progress)
    fused = fuse(modalities, None, len(catalogue), plan.seed, HYPERPARAMETERS)
    unit_vectors = normalise_rows(fused.vectors)
    return np.rint(unit_vectors * INT8_SCALE).astype(np.float32) / INT8_SCALE
