"""All modalities of fusion but the id side by side, each as long as the others: behaviour has no say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Floats, Past, Plan
from vetrina.models.content.online import LARGEST
from vetrina.models.fusion.parts import content, unit
from vetrina.models.fusion.train import SETTINGS, fused


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``vectors.npy`` (items, width) int8: unit vectors times LARGEST, their only form."""
    if past.catalogue is None:
        raise ValueError("content needs a catalogue")
    np.save(into / "vectors.npy", np.rint(vectors(past.catalogue, plan, into, progress) * LARGEST).astype(np.int8))
    return {}


def vectors(catalogue: Catalogue, plan: Plan, into: Path, progress: Progress) -> Floats:
    """Unit vectors (items, width) rounded as they are served, zeros for a product of which nothing is known. ``into`` is a
    model's folder in a run's."""
    parts = content(catalogue, plan, into, progress)
    whole = unit(fused(parts, None, len(catalogue), plan.seed, SETTINGS).vectors)
    return np.rint(whole * LARGEST).astype(np.float32) / LARGEST
