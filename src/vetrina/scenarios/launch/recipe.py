"""What launch is made of: what every user has to do with every kind of product, and trees that learnt from earlier launches."""

from pathlib import Path

from vetrina.core.types import Past, Recipe
from vetrina.features import affinities, kinds
from vetrina.layers import launches
from vetrina.retrieval import shelf

RECIPE = Recipe(scenario="launch", models=("affinity", "reach"), baselines=("affinity",), metric="Reach@5%")
ANSWERS = "users"  # asked for by the shop: there are no shoppers to share out between two versions
OPTIONAL = True  # a bundle may lack models that weigh nothing
ALONE = ()  # no model answers by itself
_LEAST_BUYERS = 50


def models_for(past: Past) -> tuple[str, ...]:
    """Without launches in the log there is nothing to learn from, and who likes the category is told."""
    events = past.interactions
    if past.catalogue is None or events is None or launches.count(events, len(past.catalogue)) < _LEAST_BUYERS:
        return ("affinity",)
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
    return past
