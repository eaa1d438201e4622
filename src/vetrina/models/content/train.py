"""Content vectors: all modalities of ``fusion`` but the id, concatenated with equal weights."""

from pathlib import Path

import numpy as np

from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Floats, TrainingData, TrainingPlan, TrainNotes
from vetrina.models.content.online import INT8_SCALE
from vetrina.models.fusion.modalities import content_modalities, normalise_rows
from vetrina.models.fusion.model import MODEL as FUSION
from vetrina.models.fusion.train import fuse


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``vectors.npy`` (items, width) int8: unit vectors times INT8_SCALE.

    Args:
        training_data: Needs the catalogue and the cache.
        plan: Seed, threads, text encoder.
        into: The output folder.
        progress: Reports the steps.

    Returns:
        Nothing to report.
    """
    if training_data.catalogue is None:
        raise ValueError("content needs a catalogue")
    vectors = content_vectors(training_data.catalogue, plan, training_data.cache_folder, progress)
    np.save(into / "vectors.npy", np.rint(vectors * INT8_SCALE).astype(np.int8))
    return TrainNotes()


def content_vectors(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> Floats:
    """Content vectors of all products, rounded to int8 steps as they are served.

    Args:
        catalogue: The products.
        plan: Seed, threads, text encoder.
        cache: The shop's cache folder.
        progress: Reports the steps.

    Returns:
        Unit vectors (items, width) float32, zeros for a product without content.
    """
    modalities = content_modalities(catalogue, plan, cache, progress)
    fused = fuse(modalities, None, len(catalogue), plan.seed, FUSION.hyperparameters)
    unit_vectors = normalise_rows(fused.vectors)
    return np.rint(unit_vectors * INT8_SCALE).astype(np.float32) / INT8_SCALE
