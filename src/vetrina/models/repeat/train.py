"""Learns which products are taken again by those who took them once: milk more than a lamp.

loyalty_p = ((lines_p + PRIOR * g) / (buyers_p + PRIOR)) ** POWER, with lines_p the summed weight of the product's events,
buyers_p its distinct users and g the same ratio over all products, so that a rare product counts as an average one.
On Complete Journey, with everything chosen before 2017-12-18, this lifts the personal decayed count from NDCG@10
.323 to .331 on the last fortnight.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core import dictionary_encoding
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Interactions, TrainingData, TrainingPlan

PRIOR_BUYERS = 5.0
LOYALTY_POWER = 0.3


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``loyalty.npy`` (items,) float32."""
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("repeat needs a catalogue and events")
    found = loyalty(training_data.interactions, len(training_data.catalogue))
    dictionary_encoding.save(into, "loyalty", found)
    return {"median_loyalty": float(np.median(found))}


def loyalty(events: Interactions, n_items: int) -> Floats:
    """loyalty of the formula, (items,)."""
    pairs = np.unique(events.user.astype(np.int64) * n_items + events.item)
    buyers = np.bincount(pairs % n_items, minlength=n_items)
    lines = np.bincount(events.item, events.weight, minlength=n_items)
    average = lines.sum() / max(len(pairs), 1)
    return (((lines + PRIOR_BUYERS * average) / (buyers + PRIOR_BUYERS)) ** LOYALTY_POWER).astype(np.float32)
