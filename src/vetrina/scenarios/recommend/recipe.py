"""What recommend is made of."""

from pathlib import Path

from vetrina.core.types import Past, Recipe
from vetrina.features import histories
from vetrina.retrieval import shelf

RECIPE = Recipe(
    scenario="recommend",
    models=("popular", "repeat", "lately", "item_knn", "item_cf", "sasrec"),
    baselines=("popular", "item_knn"),
    metric="NDCG@10",
)
RANKED = True  # answers are ranked products shown to shoppers
OPTIONAL = True  # a bundle may lack models that weigh nothing
_LEAST_EVENTS = 200


def models_for(past: Past) -> tuple[str, ...]:
    """Without behaviour the shelf order is all there is; with little of it nothing deep is learnt."""
    events = past.interactions
    if events is None or len(events) == 0:
        return ("popular",)
    return RECIPE.models if len(events) >= _LEAST_EVENTS else ("popular", "repeat", "lately", "item_knn", "item_cf")


def prepare(past: Past, into: Path) -> Past:
    """Write what serving needs beside the models."""
    if past.catalogue is None:
        raise ValueError("recommend needs a catalogue")
    shelf.write(past.catalogue, into / "shelf")
    histories.write(past.interactions, into / "histories")
    return past
