"""What serving of launch needs beside the models, and the models that the data supports."""

from pathlib import Path

import numpy as np

from vetrina.bundle.catalogue.write import write_catalogue
from vetrina.core.types import TrainingData
from vetrina.data import launch_examples
from vetrina.features import affinities, category_levels, similarity
from vetrina.scenarios.launch.scenario import RECIPE

_MIN_BUYERS = 50  # of earlier launches, from which the audience model is trained


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """The models that this data supports.

    Without earlier launches there is nothing to train the audience model on: users are selected by category affinity, and in a
    shop without categories by content similarity.
    """
    events = training_data.interactions
    catalogue = training_data.catalogue
    if catalogue is None or events is None:
        return ("affinity",)
    if launch_examples.count_buyers(events, len(catalogue)) >= _MIN_BUYERS:
        return RECIPE.models
    if any(catalogue.categories):
        return ("affinity",)
    return ("affinity", "content")


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models; returns the training data as it is.

    Raises:
        ValueError: there is no catalogue or there are no interactions.
    """
    catalogue = training_data.catalogue
    events = training_data.interactions
    if catalogue is None or events is None:
        raise ValueError("launch needs a catalogue and interactions")
    write_catalogue(catalogue, into / "catalogue")
    codes = category_levels.write(catalogue, into / "category_levels")
    first_seen = affinities.first_seen(events, len(catalogue))
    user_affinities = affinities.build(events, codes, catalogue.prices, first_seen, events.until)
    affinities.write(user_affinities, into / "affinities")
    affinities.write_users(events, len(catalogue), into / "affinities")
    np.save(into / "recent_items.npy", similarity.last_items(events, len(catalogue), events.until))
    return training_data
