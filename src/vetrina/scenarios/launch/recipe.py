"""What launch is made of: what every user has to do with every kind of product, and trees that learnt from earlier launches."""

from pathlib import Path

import numpy as np

from vetrina.core.types import Past, Recipe
from vetrina.features import affinities, kinds, likeness
from vetrina.layers import launches
from vetrina.retrieval import shelf

RECIPE = Recipe(scenario="launch", models=("affinity", "content", "reach"), baselines=("affinity",), metric="Reach@5%")
ANSWERS = "users"  # asked for by the shop: there are no shoppers to share out between two versions
OPTIONAL = True  # a bundle may lack models that weigh nothing
ALONE = ("content",)  # its vectors are asked for by the trees, whatever it weighs itself
_LEAST_BUYERS = 50


def models_for(past: Past) -> tuple[str, ...]:
    """Without launches in the log there is nothing to learn from, and who likes the category is told; in a shop without
    categories, who took what is like it."""
    events = past.interactions
    if past.catalogue is None or events is None:
        return ("affinity",)
    if launches.count(events, len(past.catalogue)) < _LEAST_BUYERS:
        return ("affinity",) if any(past.catalogue.categories) else ("affinity", "content")
    return RECIPE.models


def prepare(past: Past, into: Path) -> Past:
    """Write what serving needs beside the models."""
    catalogue, events = past.catalogue, past.interactions
    if catalogue is None or events is None:
        raise ValueError("launch needs a catalogue and behaviour")
    shelf.write(catalogue, into / "shelf")
    codes = kinds.write(catalogue, into / "kinds")
    first = affinities.first_seen(events, len(catalogue))
    affinities.write(affinities.build(events, codes, catalogue.prices, first, events.until), into / "affinities")
    affinities.write_users(events, len(catalogue), into / "affinities")
    np.save(into / "taken.npy", likeness.taken(events, len(catalogue), events.until))
    return past
