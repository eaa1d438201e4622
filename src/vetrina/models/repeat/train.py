"""Item loyalty: smoothed purchases per buyer.

loyalty_p = ((purchases_p + PRIOR_BUYERS * g) / (buyers_p + PRIOR_BUYERS)) ** LOYALTY_POWER, with purchases_p the summed
weight of the product's events, buyers_p its distinct users and g the same ratio over all products, so that a rare
product counts as an average one. On Complete Journey, with everything chosen before 2017-12-18, this lifts the personal
decayed count from NDCG@10 .323 to .331 on the last fortnight.
"""

from pathlib import Path

import numpy as np

from vetrina.bundle import dictionary_encoding
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Interactions, TrainingData, TrainingPlan, TrainNotes

PRIOR_BUYERS = 5.0
LOYALTY_POWER = 0.3


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``loyalty`` (items,) float32, dictionary-encoded.

    Args:
        training_data: Needs the catalogue and interactions.
        plan: Not used.
        into: The output folder.
        progress: Not used.

    Returns:
        Report: the median loyalty.
    """
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("repeat needs a catalogue and events")
    values = loyalty(training_data.interactions, len(training_data.catalogue))
    dictionary_encoding.save(into, "loyalty", values)
    return TrainNotes(report={"median_loyalty": float(np.median(values))})


def loyalty(events: Interactions, n_items: int) -> Floats:
    """The loyalty of the formula (items,) float32."""
    user_items = np.unique(events.user.astype(np.int64) * n_items + events.item)
    buyers = np.bincount(user_items % n_items, minlength=n_items)
    purchases = np.bincount(events.item, events.weight, minlength=n_items)
    mean_ratio = purchases.sum() / max(len(user_items), 1)
    smoothed = (purchases + PRIOR_BUYERS * mean_ratio) / (buyers + PRIOR_BUYERS)
    return (smoothed**LOYALTY_POWER).astype(np.float32)
