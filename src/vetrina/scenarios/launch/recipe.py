"""What launch is made of: what every user has to do with every kind of product, and trees that learnt from earlier launches."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Recipe, TrainingData
from vetrina.features import affinities, category_levels, similarity
from vetrina.layers import launch_examples
from vetrina.retrieval import catalogue_index

RECIPE = Recipe(scenario="launch", models=("affinity", "content", "reach"), baselines=("affinity",), metric="Reach@5%")
ANSWER_KIND = "users"  # asked for by the shop: there are no shoppers to share out between two versions
DROPS_UNWEIGHTED_MODELS = True  # a bundle may lack models that weigh nothing
ALWAYS_FITTED = ("content",)  # its vectors are asked for by the trees, whatever it weighs itself
_MIN_BUYERS = 50


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """Without launches in the log there is nothing to learn from, and who likes the category is told; in a shop without
    categories, who took what is like it."""
    events = training_data.interactions
    if training_data.catalogue is None or events is None:
        return ("affinity",)
    if launch_examples.count_buyers(events, len(training_data.catalogue)) < _MIN_BUYERS:
        return ("affinity",) if any(training_data.catalogue.categories) else ("affinity", "content")
    return RECIPE.models


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models."""
    catalogue = training_data.catalogue
    events = training_data.interactions
    if catalogue is None or events is None:
        raise ValueError("launch needs a catalogue and behaviour")
    catalogue_index.write(catalogue, into / "shelf")
    codes = category_levels.write(catalogue, into / "kinds")
    first = affinities.first_seen(events, len(catalogue))
    affinities.write(affinities.build(events, codes, catalogue.prices, first, events.until), into / "affinities")
    affinities.write_users(events, len(catalogue), into / "affinities")
    np.save(into / "taken.npy", similarity.last_items(events, len(catalogue), events.until))
    return training_data
