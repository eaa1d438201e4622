"""Decayed counts of the whole shop; without events the newest product that is in stock comes first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.clock import DAY
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, TrainingData, TrainingPlan

HALF_LIFE_SECONDS = 21 * DAY
MAX_UNSOLD_SCORE = 1e-3


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``scores.npy`` (items,) float32 in 0..1: what sells most has 1, what does not sell at most SHELF."""
    catalogue = training_data.catalogue
    if catalogue is None:
        raise ValueError("popular needs a catalogue")
    scores = _newest_in_stock_rank(catalogue) * MAX_UNSOLD_SCORE
    events = training_data.interactions
    if events is not None and len(events):
        decayed = events.weight * 2.0 ** (-(events.until - events.time) / HALF_LIFE_SECONDS)
        counts = np.bincount(events.item, decayed, minlength=len(catalogue))
        scores += counts / counts.max()
    np.save(into / "scores.npy", (scores / (1.0 + MAX_UNSOLD_SCORE)).astype(np.float32))
    return {"half_life_days": HALF_LIFE_SECONDS / DAY}


def _newest_in_stock_rank(catalogue: Catalogue) -> np.ndarray:
    new = np.nan_to_num(catalogue.available_at, nan=0.0)
    in_stock = np.nan_to_num(catalogue.stock, nan=1.0) > 0
    rank = np.empty(len(catalogue))
    rank[np.lexsort((np.arange(len(catalogue))[::-1], new, in_stock))] = np.arange(1, len(catalogue) + 1)
    return rank / len(catalogue)
