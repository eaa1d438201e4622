"""What recommend is made of."""

from pathlib import Path

from vetrina.core.types import Past, Recipe
from vetrina.features import histories, item_statistics, retention
from vetrina.retrieval import shelf, worth

RECIPE = Recipe(
    scenario="recommend",
    models=(
        "popular",
        "repeat",
        "lately",
        "item_knn",
        "sessions",
        "graph_filter",
        "ease",
        "friends",
        "image",
        "fusion",
        "sasrec",
        "gru",
    ),
    baselines=("popular", "item_knn"),
    metric="NDCG@10",
)
ANSWERS = "products"  # ranked, shown to shoppers
OPTIONAL = True  # a bundle may lack models that weigh nothing
ALONE = ("image", "fusion")  # models that answer by themselves in some placement, whatever they weigh
_LEAST_EVENTS, _LEAST_PICTURES = 200, 20
_DEEP = ("sasrec", "gru")


def models_for(past: Past) -> tuple[str, ...]:
    """Without behaviour the shelf order is all there is, and what products are like; with little of it nothing deep is learnt;
    friends if there are any."""
    events = past.interactions
    if events is None or len(events) == 0:
        return ("popular", "fusion")
    without = (_DEEP if len(events) < _LEAST_EVENTS else ()) + (() if past.ties else ("friends",))
    without += () if past.catalogue and sum(map(bool, past.catalogue.images)) >= _LEAST_PICTURES else ("image",)
    return tuple(m for m in RECIPE.models if m not in without)


def prepare(past: Past, into: Path) -> Past:
    """Write what serving needs beside the models."""
    if past.catalogue is None:
        raise ValueError("recommend needs a catalogue")
    shelf.write(past.catalogue, into / "shelf")
    histories.write(past.interactions, into / "histories")
    item_statistics.write(past, into / "statistics")
    back = [retention.returning(past.interactions, len(past.catalogue), days) for days in (7.0, 28.0)]
    worth.write(past.catalogue, back, into / "worth.npy")
    return past
