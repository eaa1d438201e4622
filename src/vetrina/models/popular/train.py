"""Popularity by exponentially decayed counts; without events the newest products in stock first."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, TrainingData, TrainingPlan, TrainNotes

HALF_LIFE_SECONDS = 21 * DAY
MAX_UNSOLD_SCORE = 1e-3  # relative to the most popular product


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``scores.npy`` (items,) float32: 1 for the most popular product, at most MAX_UNSOLD_SCORE without events.

    Args:
        training_data: Needs the catalogue; interactions may be missing.
        plan: Not used.
        into: The output folder.
        progress: Not used.

    Returns:
        Report: the half-life in days.
    """
    catalogue = training_data.catalogue
    if catalogue is None:
        raise ValueError("popular needs a catalogue")
    scores = _newest_in_stock_rank(catalogue) * MAX_UNSOLD_SCORE
    events = training_data.interactions
    if events is not None and len(events):
        age = events.until - events.time
        decayed_weights = events.weight * 2.0 ** (-age / HALF_LIFE_SECONDS)
        counts = np.bincount(events.item, decayed_weights, minlength=len(catalogue))
        scores += counts / counts.max()
    np.save(into / "scores.npy", (scores / (1.0 + MAX_UNSOLD_SCORE)).astype(np.float32))
    return TrainNotes(report={"half_life_days": HALF_LIFE_SECONDS / DAY})


def _newest_in_stock_rank(catalogue: Catalogue) -> NDArray[np.float64]:
    """Relative rank (items,) from above 0 to 1: in stock above out of stock, then newer above older."""
    n_items = len(catalogue)
    available_at = np.nan_to_num(catalogue.available_at, nan=0.0)
    is_in_stock = np.nan_to_num(catalogue.stock, nan=1.0) > 0
    last_first = np.arange(n_items)[::-1]  # of equals, the first of the catalogue ranks higher
    order = np.lexsort((last_first, available_at, is_in_stock))
    rank = np.empty(n_items)
    rank[order] = np.arange(1, n_items + 1)
    return rank / n_items
